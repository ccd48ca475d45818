"""The link between a parent and one worker: whole frames in, frames out.

Owns: the socket. Does not own: what is said (wire/duty.py), what it leads to.
"""

import logging
from asyncio import AbstractEventLoop, BaseTransport, Future, Protocol, Transport
from collections.abc import Callable
from socket import socket
from typing import cast

from tidings.wire import duty
from tidings.wire.frames import BadFrame, Frames

_log = logging.getLogger("tidings.workers")


class Link(Protocol):
    """One end. `heard` is given each frame's body; `ended` is done when the other end is gone."""

    def __init__(self, loop: AbstractEventLoop, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._frames = Frames()
        self._transport: Transport | None = None
        self.ended: Future[None] = loop.create_future()

    @classmethod
    async def over(cls, sock: socket, loop: AbstractEventLoop, heard: Callable[[bytes], None]) -> "Link":
        """Return a link over `sock`, which is the link's from now on."""
        link = cls(loop, heard)
        await loop.create_unix_connection(lambda: link, sock=sock)
        return link

    def connection_made(self, transport: BaseTransport) -> None:
        """The socket is ready."""
        self._transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The other end says something."""
        try:
            for body in self._frames.feed(data):
                self._heard(body)
        except BadFrame as why:
            _log.error("link_cut reason=%s", why)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The other end is gone."""
        if not self.ended.done():
            self.ended.set_result(None)

    def say(self, value: "duty.Order | duty.Word") -> None:
        """Send one frame; nobody hears it when the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(duty.pack(value))

    def close(self) -> None:
        """Hang up, behind what was said."""
        if self._transport is not None:
            self._transport.close()
