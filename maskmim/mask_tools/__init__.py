"""Tools for masks."""
