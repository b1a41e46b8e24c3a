"""What a training would need on machines that are not here: memory, time, links, decoding cores."""
