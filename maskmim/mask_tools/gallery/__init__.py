"""Pictures and statistics of every sampler: `python -m maskmim.gallery`."""
