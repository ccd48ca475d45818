"""The C programs, compiled when they are older than their source.

Owns: bench/build/. Invariant: a program that is returned was made from the sources as they are now.
"""

import subprocess
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
_SOURCES = BENCH / "c"
_BUILD = BENCH / "build"
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def program(name: str) -> Path:
    """Return the path of the compiled program `name`; raises CalledProcessError where gcc refuses it."""
    source, made = _SOURCES / f"{name}.c", _BUILD / name
    newest = max(path.stat().st_mtime for path in (source, _SOURCES / "common.h"))
    if not made.exists() or made.stat().st_mtime < newest:
        _BUILD.mkdir(exist_ok=True)
        subprocess.run(["gcc", *_FLAGS, "-o", made, source], check=True)
    return made
