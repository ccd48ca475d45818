"""Tidings: real-time messaging. A channel is a log, a client is a cursor, a transport is a way to wait."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidings.client.publisher import Publisher, Receipt
    from tidings.version import __version__

__all__ = ["Publisher", "Receipt", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazily: a server needs no client, and a script that publishes needs no server.
    if name in ("Publisher", "Receipt"):
        from tidings.client import publisher

        return getattr(publisher, name)
    if name == "__version__":
        from tidings.version import __version__

        return __version__
    raise AttributeError(f"module 'tidings' has no attribute {name!r}")
