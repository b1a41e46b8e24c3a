"""maskmim: masked-image-modelling pretraining in JAX."""

__version__ = "0.1.0"
