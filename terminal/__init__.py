"""Floor 4: the terminal client's own modules; they belong to client.py and know wire/ and each other, nothing else."""
