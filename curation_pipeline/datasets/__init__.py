"""Labelled sets, benchmarks and package archives: where they come from and the role of each split."""
