"""The Markov decision process, its network, PPO training and the scoring of a pool."""
