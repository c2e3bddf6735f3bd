"""The benchmark: Partyline beside the servers people would otherwise use, under one load generator."""
