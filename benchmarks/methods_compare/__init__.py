"""Every image method of the house on the embedded photographs, for the same CPU time."""
