"""Floor 4: what a person or a script sees: the screen, and the filter for scripts."""
