"""Probe fine-tunes and the surrogate that turns their evaluations into credit."""
