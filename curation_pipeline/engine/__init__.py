"""Mapping a function over partitions."""
