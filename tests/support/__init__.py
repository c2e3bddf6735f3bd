"""Helpers that the tests share; each folder and module is one idea, and no module is a test."""
