"""Pictures and statistics of every sampler: `python -m maskmim.masks.gallery`."""
