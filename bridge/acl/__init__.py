"""Floor 3: the access rules that another broker needs, from the table of topics."""
