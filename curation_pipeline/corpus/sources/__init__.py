"""Kinds of source: each module declares one as ``SOURCE``."""
