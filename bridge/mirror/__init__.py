"""Floor 3: the mirror of the chat on another broker: what goes out, what comes in, and its users."""
