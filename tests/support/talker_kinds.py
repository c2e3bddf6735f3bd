"""Kept for a while under its old name; import from tests.support.talkers."""

from tests.support.talkers import KINDS as KINDS
