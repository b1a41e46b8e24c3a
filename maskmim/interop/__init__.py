"""Weights in the layouts of other codebases, and the weights that a run begins from."""
