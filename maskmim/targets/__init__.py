"""Targets: what predictions are compared with."""
