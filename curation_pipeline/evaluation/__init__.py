"""Benchmarks, judges and statistics."""
