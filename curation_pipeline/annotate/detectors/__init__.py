"""Toxicity detectors: small linear and recurrent ones from package archives, and Detoxify for who has its weights."""
