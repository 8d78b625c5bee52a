"""Dagster resources: how the assets reach the lake, the settings, the tracker and the warehouse."""
