"""Methods: the generic one, and those that it cannot express."""
