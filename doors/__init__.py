"""Floor 3: the ways in for sockets: the port with every dialect on it, a thread a connection, and the pump."""
