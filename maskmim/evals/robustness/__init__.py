"""Accuracy on pictures that are corrupted, shifted or partly hidden."""
