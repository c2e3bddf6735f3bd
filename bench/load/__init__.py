"""The load generators: a C program where a C compiler is there, and otherwise Python.

`program/` has the C program, which `compiler.py` compiles at its first use. Python connects the clients, which log in
and join. Then `compiled.py` lends their sockets to the program, with a description of the load (`description.py`). The
program sends and counts every protocol alike, and checks the length and the sequence of each message, so that a lost
or a doubled one fails the run. `python.py` has the same loads in Python: it counts bytes instead of messages, uses
most of a core, and so favours the server that is slower than itself.
"""

from bench.load.compiled import CompiledGenerator
from bench.load.compiler import CompileFailed, find_compiler
from bench.load.generator import Generator
from bench.load.python import PythonGenerator

__all__ = ["CompileFailed", "CompiledGenerator", "Generator", "PythonGenerator", "find_compiler", "generator"]


def generator(name: str = "") -> Generator:
    """Return the generator `c` or `python`, or without a name the faster one of those that this machine can run."""
    name = name or ("c" if find_compiler() else "python")
    return CompiledGenerator() if name == "c" else PythonGenerator()
