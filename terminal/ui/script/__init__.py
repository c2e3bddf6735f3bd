"""Floor 4: the filter: the client for scripts and pipes, which reads commands from stdin and prints to stdout."""

from .filter import Filter, ScriptOptions

__all__ = ["Filter", "ScriptOptions"]
