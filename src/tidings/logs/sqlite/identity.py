"""Whether a file is the one that was written here last, on this run of the machine.

Owns: the two questions whose answers begin a new epoch: was the file copied or put back, and has the
machine been down? Does not own: what follows from them (file.py).
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ATTRIBUTE = "user.tidings"


def boot() -> str:
    """Return a name for this run of the machine, or nothing where the system does not tell."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def of(path: Path) -> str:
    """Return what tells this file from a copy of it: its inode, and its mark where it bears one.

    A copy is another inode. A copy that was written over the file (`cp backup tidings.db`) is the same
    inode, but has the mark of another opening: the mark is an attribute of the file, which writing over
    it leaves as it is.
    """
    return f"{path.stat().st_ino}:{_mark(path)}"


def renew(path: Path) -> str:
    """Give the file a new mark, where its file system has such, and return what `of` says from now on."""
    # Other systems than Linux, and file systems without attributes: then there is only the inode.
    with suppress(AttributeError, OSError):
        os.setxattr(path, _ATTRIBUTE, secrets.token_hex(8).encode())
    return of(path)


def _mark(path: Path) -> str:
    try:
        return os.getxattr(path, _ATTRIBUTE).decode("ascii", "replace")
    except (AttributeError, OSError):
        return ""
