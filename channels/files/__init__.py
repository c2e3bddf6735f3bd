"""Floor 2: files: who offers what to whom, the file while it is uploaded, its end, and direct transfers."""
