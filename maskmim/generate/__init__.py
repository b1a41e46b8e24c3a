"""Generation with models of masked tokens: decoding loops that are independent of the model."""
