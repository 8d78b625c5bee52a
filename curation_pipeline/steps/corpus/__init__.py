"""Raw text, read once."""
