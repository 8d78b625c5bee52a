"""What is known only over all raw partitions together."""
