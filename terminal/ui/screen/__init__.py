"""Floor 4: the screen: the client for a person at a terminal, with an input line below the messages.

Importing it loads prompt_toolkit, so client.py imports it only when it has a terminal.
"""

from .screen import Screen

__all__ = ["Screen"]
