"""The load of file transfers. The sender and the receiver of a file are a process each."""
