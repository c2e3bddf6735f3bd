"""Floor 4: files that are sent and fetched: the transfers, their channels, and the disk."""
