"""The library of `python -m maskmim.gallery`: pictures and statistics of every sampler."""
