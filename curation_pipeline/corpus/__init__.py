"""Documents in: readers, schema, ids and quarantine."""
