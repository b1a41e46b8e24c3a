"""Methods that the generic composition alone cannot say."""
