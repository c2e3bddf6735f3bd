"""Floor 1: what every SQL store shares: the tables, the migrations, and the statements of the contract."""
