"""Which methods a path takes (RFC 9110 §10.2.1), for answers that say so.

Owns: that. Does not own: what is at a path (routes.py).
"""

from typing import Final

CHANNELS: Final = "/channels"
PUBLISH: Final = "/publish"


def names_channels(path: str) -> bool:
    """Whether `path` is that of channels: with names, or of a WebSocket that begins with none."""
    return path.startswith(CHANNELS) and path[9:10] in ("", "/")


def methods(path: str) -> str:
    """Return the methods that `path` takes, as an Allow header says them."""
    if names_channels(path):
        return "GET, HEAD, POST, OPTIONS"
    return "POST, OPTIONS" if path == PUBLISH else "GET, HEAD, OPTIONS"
