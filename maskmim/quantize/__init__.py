"""Vector quantisation: codebooks, nearest codes, prototypes."""

from maskmim.quantize.ema_codebook import averaged

__all__ = ["averaged"]
