"""Simulators and methods that the loop does not run; README.md says what each showed."""
