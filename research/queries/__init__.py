"""A policy that pays for the scores of documents before it decides; see README.md in the folder above."""
