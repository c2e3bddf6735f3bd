"""Mutation testing: `python -m tests.campaign.mutants` samples faults of the product and checks that a test fails."""
