"""Pictures out of models of masked tokens: decoding loops that know tokens, and no model."""
