"""From scores to a weighted batch, for the policy and for every baseline."""
