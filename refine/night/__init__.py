"""One night as a list of steps, and its state."""
