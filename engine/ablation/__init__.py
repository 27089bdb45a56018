"""The whole system as one cell of an ablation: a prepared world, a training, its account and its scores."""
