"""Plans of a training on other machines: memory, time, links, decoding cores."""
