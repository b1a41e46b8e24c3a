"""Evaluations at every pixel: segmentation and depth on frozen encoders."""
