"""Tokenizer, packing, weighted loss, trainer and checkpoints."""
