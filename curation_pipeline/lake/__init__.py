"""Tables, recipe keys, manifests, atomic commits and lineage."""
