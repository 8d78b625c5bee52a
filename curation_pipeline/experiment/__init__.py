"""Arms at an equal token budget, and the report."""
