"""A whole server without sockets, on a clock that is set.

The app, its connections, its timer wheel and the transports are the real ones; what is simulated is the
loop's clock with its timers, and the sockets' side of each connection.

Owns: time, and what a peer does to a socket: send, stop reading, vanish. Does not own: what is answered.
Invariant: time moves only in `pass_time`, from one timer to the next, and what is due is done before it
returns.
"""

import asyncio
import contextlib
import heapq
import itertools
from asyncio import AbstractEventLoop, BaseTransport
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import raw
from tidings.core.message import Draft
from tidings.server.app import App
from tidings.server.config import Settings
from tidings.server.connection import Connection


class Clock:
    """The part of an event loop that the server tells the time by.

    As in life a timer is called `late` seconds after its time.
    """

    def __init__(self, *, now: float = 1_000.0, late: float = 1e-5) -> None:
        self.now = now
        self._late = late
        self._timers: list[tuple[float, int, Any]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *arguments: object) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), partial(callback, *arguments)))

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> None:
        self.call_at(self.now, callback, *arguments)

    @property
    def timers(self) -> int:
        """How many callbacks wait for their time."""
        return len(self._timers)

    def pass_time(self, seconds: float) -> None:
        """Do all that falls due within `seconds`, in order."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, callback = heapq.heappop(self._timers)
            self.now = max(self.now, when + self._late)
            callback()
        self.now = max(self.now, end)


class Socket:
    """One connection's socket: an asyncio transport whose peer is the test."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connection: Connection
        self._unsent = b""
        self._stalled = False
        self._paused = False
        self._half_closed = False
        self.sent: list[tuple[float, bytes]] = []
        self.closed_at: float | None = None
        self.reading = True

    # --- what the test does -------------------------------------------------------------------------

    def connect(self, connection: Connection) -> None:
        """Be the transport of `connection`."""
        self._connection = connection
        connection.connection_made(cast("BaseTransport", self))

    def say(self, data: bytes) -> None:
        """Let the peer's bytes arrive."""
        assert self.closed_at is None
        self._connection.data_received(data)

    def stall(self) -> None:
        """From now on the peer takes nothing, and what the kernel keeps for it is full."""
        self._stalled = True

    def read_on(self) -> None:
        """Take everything that waits, and all that follows."""
        self._stalled = False
        if self._unsent:
            self.sent.append((self._clock.now, self._unsent))
            self._unsent = b""
        if self._paused:
            self._paused = False
            self._connection.resume_writing()

    def hang_up(self) -> None:
        """Let the peer close its side."""
        if not self._connection.eof_received():
            self.close()

    def is_open(self) -> bool:
        """Whether the server has not closed it yet."""
        return self.closed_at is None

    @property
    def text(self) -> bytes:
        """All that was sent so far."""
        return b"".join(data for _, data in self.sent)

    def times_of(self, mark: bytes) -> list[float]:
        """When `mark` was sent: once for each write that has it."""
        return [at for at, data in self.sent if mark in data]

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer in this process."""
        return len(self._unsent)

    # --- what the connection calls ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._half_closed:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self.closed_at is not None:
            return
        if not self._stalled:
            self.sent.append((self._clock.now, data))
            return
        self._unsent += data
        if not self._paused:
            self._paused = True
            self._connection.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self._unsent:
            self.abort()

    def abort(self) -> None:
        if self.closed_at is None:
            self.closed_at = self._clock.now
            self._clock.call_soon(self._connection.connection_lost, None)


class Simulation:
    """One server on a simulated clock. Make it inside a running loop, which the memory log needs."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.app = App(Settings(**settings), cast("AbstractEventLoop", self.clock))
        self._delivery = asyncio.create_task(self.app.hub.run())

    @classmethod
    async def begun(cls, **settings: Any) -> "Simulation":
        """Return a server that has come into its log's life."""
        simulation = cls(**settings)
        while not simulation.app.hub.stats.lives:  # noqa: ASYNC110  the delivery's turns
            await asyncio.sleep(0)
        return simulation

    @property
    def now(self) -> float:
        return self.clock.now

    def pass_time(self, seconds: float) -> None:
        """See Clock."""
        self.clock.pass_time(seconds)

    def connect(self, request: bytes = b"") -> Socket:
        """Return a new connection's socket, on which `request` has been sent."""
        socket = Socket(self.clock)
        socket.connect(Connection(self.app))
        if request:
            socket.say(request)
        return socket

    def stream(self, channels: str, query: str = "") -> Socket:
        """Return an open event stream."""
        return self.connect(
            raw.head_of("GET", f"/channels/{channels}{query}", {"Accept": "text/event-stream"})
        )

    def web_socket(self, channels: str, query: str = "") -> Socket:
        """Return an open WebSocket."""
        return self.connect(raw.head_of("GET", f"/channels/{channels}{query}", raw.HANDSHAKE))

    async def publish(self, channel: str, data: bytes = b"1", key: str | None = None) -> None:
        """Publish, and let the message be delivered."""
        [receipt] = await self.app.hub.publish([Draft(channel, data, key=key)])
        while self.app.hub.position < receipt.cursor.position:  # noqa: ASYNC110  the delivery's turns
            await asyncio.sleep(0)

    def metric(self, name: str) -> float:
        """Return one figure of /metrics."""
        asker = self.connect(raw.head_of("GET", "/metrics"))
        asker.abort()
        self.pass_time(0)
        [line] = [line for line in asker.text.splitlines() if line.startswith(b"%b " % name.encode())]
        return float(line.split()[1])

    async def close(self) -> None:
        """End the delivery."""
        self._delivery.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._delivery
