"""The red team: adversarial and benign texts that measure how a detector errs."""
