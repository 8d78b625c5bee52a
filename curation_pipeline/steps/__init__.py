"""The boxes of the graph, one module each, in folders that have the names of the graph's groups."""
