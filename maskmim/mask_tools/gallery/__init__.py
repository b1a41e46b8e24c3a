"""Pictures and statistics of every sampler: `python -m maskmim.mask_tools.gallery`."""
