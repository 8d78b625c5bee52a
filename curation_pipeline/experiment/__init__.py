"""Comparisons of arms at an equal token budget: paired bootstraps, corrected claims, and the Pareto front."""
