"""Floor 4: the client's state without I/O: what comes and what is typed go in, steps come out."""
