"""Reinforcement-learned data curation: the science, free of any orchestrator."""
