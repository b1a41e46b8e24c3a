"""Mask samplers: pure functions `(randomness, context, *, hyperparameters) -> Mask`."""
