"""Long campaigns, run by `make campaign`, for which `make test` has no time."""
