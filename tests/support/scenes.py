"""Kept for a while under its old name; import from the modules below."""

from tests.support.load import Poster as Poster
from tests.support.load import Scene as Scene
