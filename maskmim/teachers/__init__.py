"""Teachers, the sources of hints: other weights, banks of noise, the data itself."""
