"""Runs as folders that other libraries load: what `python -m maskmim.export` writes."""
