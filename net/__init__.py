"""Floor 0: sockets, and nothing of the chat: one send, the write pump."""
