"""What a run costs: figures that were measured, the size of a corpus by a sample, and what was spent so far."""
