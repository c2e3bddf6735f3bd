"""The rows of the table: each has a load, metrics and targets."""
