"""Many light clients: a socket each that keeps what it is sent, for runs of thousands on one core.

Owns: collecting bytes and when they came. Does not own: judging them.
Invariant: a listener costs one callback for each piece that comes, and parses nothing while it listens.
"""

import asyncio
import json
import re
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from exactness.links import Cut, Link, Socket
from raw import HANDSHAKE, PONG, frame, head_of

_MESSAGE = re.compile(rb'\{"id":"([0-9a-z]+)-([0-9]+)","channel":"([^"]+)"')


def allow_descriptors(count: int) -> None:
    """Raise this process's limit of open files to `count`, as far as it may go; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True)
class Heard:
    """What one listener was sent: where it began, the positions of its messages, and when it ended."""

    began: int
    positions: list[int]
    channels: list[str]
    ended: float | None


class Listener(asyncio.Protocol):
    """One WebSocket or event stream on `channels`. `on_data`, where given, is called with each piece."""

    def __init__(
        self,
        transport: str,
        channels: tuple[str, ...],
        on_data: Callable[[bytes], None] | None = None,
    ) -> None:
        self.kind = transport
        self.channels = channels
        self.pieces: list[bytes] = []
        self.port = 0
        self.ended: float | None = None
        self.ready = asyncio.get_running_loop().create_future()
        self._on_data = on_data
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self.port = transport.get_extra_info("sockname")[1]
        headers = HANDSHAKE if self.kind == "websocket" else {"Accept": "text/event-stream"}
        self._transport.write(head_of("GET", f"/channels/{','.join(self.channels)}", headers))

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        if not self.ready.done():
            self.pieces.append(data)
            if b'"channels":[' in b"".join(self.pieces):
                self.ready.set_result(None)
            return
        if b"\x89\x00" in data and self.kind == "websocket":
            self._transport.write(frame(PONG))  # a ping, wherever it stands: what is published here is ASCII
        if self._on_data is None:
            self.pieces.append(data)
        else:
            self._on_data(data)

    def eof_received(self) -> bool:
        """The server has said all."""
        self.ended = time.time()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.ended = self.ended or time.time()
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed before it began"))

    def pause(self) -> None:
        """Read nothing."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def abort(self) -> None:
        """Go."""
        self._transport.abort()

    def heard(self) -> Heard:
        """Return what came, taken apart."""
        whole = b"".join(self.pieces)
        start = re.search(rb'"cursor":"[0-9a-z]+-([0-9]+)"', whole)
        assert start is not None, whole[:500]
        found = _MESSAGE.findall(whole)
        return Heard(
            int(start[1]),
            [int(position) for _, position, _ in found],
            [channel.decode() for _, _, channel in found],
            self.ended,
        )


async def gather_crowd(
    port: int,
    plans: list[tuple[str, tuple[str, ...]]],
    on_data: list[Callable[[bytes], None] | None] | None = None,
) -> list[Listener]:
    """Connect a listener for each (transport, channels), some at a time, and wait until all have begun."""
    loop = asyncio.get_running_loop()
    crowd: list[Listener] = []
    for start in range(0, len(plans), 200):
        some = []
        for index, (kind, channels) in enumerate(plans[start : start + 200], start):
            listener = Listener(kind, channels, None if on_data is None else on_data[index])
            some.append(listener)
        await asyncio.gather(*(_connect(loop, one, port) for one in some))
        async with asyncio.timeout(120):
            await asyncio.gather(*(one.ready for one in some))
        crowd += some
    return crowd


async def _connect(loop: asyncio.AbstractEventLoop, listener: Listener, port: int) -> None:
    await loop.create_connection(lambda: listener, "127.0.0.1", port)


class Poster:
    """Publishes over one WebSocket, one message at a time; its answers are `acks`, (id, channel)."""

    def __init__(self, port: int) -> None:
        self.acks: list[tuple[str, str]] = []
        self._port = port
        self._socket: Socket

    async def open(self) -> "Poster":
        """Connect."""
        link = await Link.open(self._port)
        link.patience = 90.0
        self._socket = await Socket.open(link, "/channels")
        return self

    async def post(self, channel: str, data: dict[str, Any]) -> bool:
        """Publish; False when the server has closed."""
        try:
            await self._socket.say("publish", {"channel": channel, "data": data}, len(self.acks))
            while True:
                said = json.loads(await self._socket.said())
                if "ok" in said:
                    self.acks.append((said["ok"]["id"], channel))
                    return True
        except Cut:
            self.close()
            return False

    def close(self) -> None:
        """Go."""
        self._socket.link.abort()
