"""The C programs, compiled when they are older than their sources.

Owns: bench/build/. Invariant: a program that is returned was made from the sources as they are now.
A program is one file, c/NAME.c, and what is in the folder c/NAME/, where there is one.
"""

import subprocess
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
SOURCES = {"PYTHONPATH": str(BENCH.parent / "src")}  # of what is measured, for a program's environment
_SOURCES = BENCH / "c"
_BUILD = BENCH / "build"
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def program(name: str) -> Path:
    """Return the path of the compiled program `name`; raises CalledProcessError where gcc refuses it."""
    sources = [_SOURCES / f"{name}.c", *sorted((_SOURCES / name).glob("*.c"))]
    headers = [_SOURCES / "common.h", *(_SOURCES / name).glob("*.h")]
    made = _BUILD / name
    newest = max(path.stat().st_mtime for path in (*sources, *headers))
    if not made.exists() or made.stat().st_mtime < newest:
        _BUILD.mkdir(exist_ok=True)
        # Whoever has the old one open, or asks at the same time, is not handed half a program.
        fresh = made.with_suffix(".new")
        subprocess.run(["gcc", *_FLAGS, "-o", fresh, *sources], check=True)
        fresh.replace(made)
    return made
