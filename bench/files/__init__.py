"""Files, one process for each end."""
