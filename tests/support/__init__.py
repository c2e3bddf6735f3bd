"""What the tests share; each folder and module is one idea, and nothing in here is a test."""
