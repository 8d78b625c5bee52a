"""The Perspective API as a detector of curation-pipeline."""
