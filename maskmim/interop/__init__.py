"""Weights in the layouts of other codebases."""
