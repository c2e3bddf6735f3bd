"""Load through another broker."""
