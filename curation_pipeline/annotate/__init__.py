"""Facts about documents, computed once and never rewritten."""
