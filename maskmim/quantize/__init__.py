"""Vectors and the codes of a codebook."""

from maskmim.quantize.ema_codebook import averaged

__all__ = ["averaged"]
