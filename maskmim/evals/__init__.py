"""Evaluators of trained encoders."""
