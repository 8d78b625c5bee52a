"""Baselines at the same token budget, and the last evaluation."""
