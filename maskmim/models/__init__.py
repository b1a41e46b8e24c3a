"""Model definitions; the only package that imports flax.linen."""
