"""Load on the text and JSON dialects, and on peers that speak lines."""
