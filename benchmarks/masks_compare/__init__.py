"""Equal runs that differ only in the mask sampler; docs/masks_compare.md has the results."""
