"""Sources of hints: other weights, banks of noise, the data itself."""
