"""The rows of the table: the pieces of work, what each measures, and the targets."""
