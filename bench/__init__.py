"""The benchmark: one load generator measures Partyline and other servers in the same run."""
