"""Tidings: real-time messaging. A channel is a log, a client is a cursor, a transport is a way to wait."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidings.client import Client, Gap, Message, Publisher, Receipt, connect
    from tidings.version import __version__

__all__ = ["Client", "Gap", "Message", "Publisher", "Receipt", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    # Lazily: a server needs no client, and a script that publishes needs no event loop.
    if name == "__version__":
        from tidings.version import __version__

        return __version__
    if name in __all__:
        from tidings import client

        return getattr(client, name)
    raise AttributeError(f"module 'tidings' has no attribute {name!r}")
