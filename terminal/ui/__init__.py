"""Floor 4: what a person or a script sees. `screen/` is for a terminal, `script/` for pipes; both show the same lines.

Each of the two folders is a surface of its own, because the filter must not load what only the screen needs.
"""

from .paint import PALETTE, Line, paint

__all__ = ["PALETTE", "Line", "paint"]
