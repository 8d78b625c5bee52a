"""One iteration, from its gate to its commit."""
