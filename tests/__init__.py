"""The tests: pure ones of each floor, conversations over every door, and faults."""
