"""Facts about the documents of one raw partition, each computed once; documents are never rewritten."""
