"""Kept for a while under its old name; import from the modules below."""

from tests.support.files.proxy import Cut as Cut
from tests.support.files.proxy import Facts as Facts
from tests.support.files.proxy import FileProxy as FileProxy
from tests.support.files.proxy import Gate as Gate
from tests.support.files.proxy import Meddle as Meddle
from tests.support.files.proxy import Passing as Passing
from tests.support.files.proxy import Tap as Tap
