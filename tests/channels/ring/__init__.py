"""Tests of channels/ring/."""
