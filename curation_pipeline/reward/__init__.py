"""The composite reward: safety, alignment and diversity; every R is higher-is-better in [0, 1]."""
