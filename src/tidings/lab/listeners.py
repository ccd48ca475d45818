"""The clients of the lab, one class for each transport: they listen, and count every byte on the socket.

Owns: what a client of each kind does, and the round trip that is simulated. Does not own: the counts
(tally.py).
Invariant: bytes are stamped when they come, before anything is read out of them; what a client learns from
them it learns half a round trip later, and what it then sends arrives another half later.

They are bare asyncio protocols: the load shares the machine with the servers, and a client that did more
would measure itself. HTTP is parsed by httptools, frames by websockets' sans-I/O protocol, events by our own
parser.
"""

import asyncio
import re
import time
from typing import Final, cast

import httptools
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from tidings.lab import heads
from tidings.lab.tally import Tally
from tidings.wire import event_stream

_NUMBER: Final = re.compile(rb'"data":\{"n":1(\d{6})')
_CURSOR: Final = re.compile(rb'"cursor":"([^"]+)"')
_KEY: Final = (
    "dGlkaW5ncyBleGFtcGxlIQ=="  # any 16 bytes: nothing here is secret, and all clients may say the same
)


class ListenerFailed(Exception):
    """A client was cut, or answered as no Tidings server answers."""


class Listener(asyncio.Protocol):
    """A client of one channel. `ready` is set when it stands at the end of the channel and listens.

    `rtt` is the round trip, in seconds, that is simulated.
    """

    def __init__(self, host: str, channel: str, tally: Tally, *, rtt: float) -> None:
        self.host = host
        self.channel = channel
        self.tally = tally
        self.rtt = rtt
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.messages = 0
        self.up = 0
        self.down = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in all but name.
        self._transport = cast("asyncio.Transport", transport)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._left:
            self.fail(f"the server cut a client: {exc or 'it closed the connection'}")

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.down += len(data)
        self.count_down(len(data), now)
        self._loop.call_later(self.rtt / 2, self._take, data, now)

    def _take(self, data: bytes, came: float) -> None:
        if not self._left:
            self.take(data, came)

    def send(self, data: bytes, *, request: bool = False) -> None:
        """Write bytes, and count them."""
        if self._transport is None or self._left:
            return
        self.up += len(data)
        self.count_up(len(data), time.monotonic(), request=request)
        self._transport.write(data)

    def heard(self, text: bytes, came: float) -> int:
        """Count the messages in what came, and return how many there are."""
        numbers = _NUMBER.findall(text)
        self.messages += len(numbers)
        for number in numbers:
            self.tally.heard(int(number), came, self.rtt / 2)
        return len(numbers)

    def leave(self) -> None:
        """Close the connection, and hear nothing more."""
        self._left = True
        if self._transport is not None:
            self._transport.abort()

    def fail(self, reason: str) -> None:
        """Tell whoever waits for `ready`, or the event loop's handler, that this client is of no use."""
        failure = ListenerFailed(reason)
        self.leave()
        if not self.ready.done():
            self.ready.set_exception(failure)
        else:
            self._loop.call_exception_handler({"message": reason, "exception": failure})

    def count_up(self, size: int, now: float, *, request: bool) -> None:
        """Count what was sent."""
        self.tally.sent(size, now, request=request)

    def count_down(self, size: int, now: float) -> None:
        """Count what came."""
        self.tally.came(size, now)

    def begin(self) -> None:
        """Ask for the first time."""
        raise NotImplementedError

    def take(self, data: bytes, came: float) -> None:
        """Read what came, half a round trip after it did."""
        raise NotImplementedError


class Poller(Listener):
    """Polling: asks every `interval`, from `first` on. Long-polling is one that asks when it was answered.

    `last_body` is the latest answer's body, and `last_size` the bytes of all of it.
    """

    query = ""

    def __init__(self, host: str, channel: str, tally: Tally, *, rtt: float) -> None:
        super().__init__(host, channel, tally, rtt=rtt)
        self.last_body = b""
        self.last_size = 0
        self.last_request = 0
        self._cursor = b""
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._came = 0.0
        self._asked = False
        self._before = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self.ask()

    def ask(self) -> None:
        """Ask for what follows the cursor, unless the last answer is still out."""
        if self._asked:
            return
        self._asked = True
        self._before = self.down
        target = f"/channels/{self.channel}"
        if self._cursor:
            target += f"?after={self._cursor.decode()}{self.query}"
        head = heads.fetch(target, self.host)
        self.last_request = len(head)
        self.send(head, request=True)

    def poll(self, first: float, interval: float) -> None:
        """Ask every `interval` from `first` on, the monotonic moment when a question reaches the server."""

        def due(at: float) -> None:
            self.ask()
            self._timer = self._loop.call_later(
                max(0.0, at + interval - time.monotonic()), due, at + interval
            )

        self._timer = self._loop.call_later(max(0.0, first - time.monotonic()), due, first)

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().leave()

    def take(self, data: bytes, came: float) -> None:
        self._came = came
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as why:
            self.fail(f"an answer is no HTTP: {why}")

    # What the parser tells.

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        body = bytes(self._body)
        self._body.clear()
        cursor = _CURSOR.search(body)
        if self._parser.get_status_code() != 200 or cursor is None:
            self.fail(f"a poll was answered {self._parser.get_status_code()}: {body[:200]!r}")
            return
        self._cursor = cursor[1]
        self._asked = False
        self.last_body, self.last_size = body, self.down - self._before
        messages = self.heard(body, self._came)
        self.tally.answered(self._came, empty=not messages)
        self.answered()

    def answered(self) -> None:
        """Say that the place is known; the next question comes by the clock."""
        if not self.ready.done():
            self.ready.set_result(None)


class LongPoller(Poller):
    """Long-polling: each question hangs until there is something, and the next follows at once."""

    def __init__(self, host: str, channel: str, tally: Tally, *, rtt: float, wait: float) -> None:
        super().__init__(host, channel, tally, rtt=rtt)
        self.query = f"&wait={wait:g}"

    def answered(self) -> None:
        # An answer is known here half a way late, and the next question is half a way from the server: a
        # round trip after it came, however late this timer is itself.
        left = self._came + self.rtt - time.monotonic()
        self._timer = self._loop.call_later(max(0.0, left), self._again)

    def _again(self) -> None:
        self.ask()
        if not self.ready.done():
            self.ready.set_result(None)


class _Stream(Listener):
    """A connection that is opened once. Its opening is counted apart, whenever it was."""

    def open(self) -> None:
        """Note that the stream is open: all that was sent and came so far was the opening."""
        if not self.ready.done():
            self.tally.opened(self.up, self.down)
            self.ready.set_result(None)

    def count_up(self, size: int, now: float, *, request: bool) -> None:
        if self.ready.done():
            super().count_up(size, now, request=request)

    def count_down(self, size: int, now: float) -> None:
        if self.ready.done():
            super().count_down(size, now)


class EventStream(_Stream):
    """Server-Sent Events: one question, and an answer that does not end."""

    def __init__(self, host: str, channel: str, tally: Tally, *, rtt: float) -> None:
        super().__init__(host, channel, tally, rtt=rtt)
        self._head = b""
        self._in_body = False
        self._events = event_stream.Parser()

    def begin(self) -> None:
        self.send(heads.event_source(f"/channels/{self.channel}", self.host), request=True)

    def take(self, data: bytes, came: float) -> None:
        if not self._in_body:
            self._head += data
            head, ended, data = self._head.partition(b"\r\n\r\n")
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self.fail(f"an event stream was answered {head[:40]!r}")
                return
            self._in_body = True
        for event in self._events.feed(data):
            if event.event == "ready":
                self.open()
            elif event.event == "message":
                self.heard(event.data.encode(), came)


class WebSocketStream(_Stream):
    """A WebSocket: one connection, both ways."""

    def __init__(self, host: str, channel: str, tally: Tally, *, rtt: float) -> None:
        super().__init__(host, channel, tally, rtt=rtt)
        self._head = b""
        self._frames: Protocol | None = None

    def begin(self) -> None:
        self.send(heads.web_socket(f"/channels/{self.channel}", self.host, _KEY), request=True)

    def take(self, data: bytes, came: float) -> None:
        if self._frames is None:
            self._head += data
            head, ended, data = self._head.partition(b"\r\n\r\n")
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.fail(f"a WebSocket was answered {head[:40]!r}")
                return
            self._frames = Protocol(Side.CLIENT, state=State.OPEN)
        self._frames.receive_data(data)
        for frame in self._frames.events_received():
            if not isinstance(frame, Frame) or frame.opcode is not Opcode.TEXT:
                continue
            text = bytes(frame.data)
            if text.startswith(b'{"ready"'):
                self.open()
            else:
                self.heard(text, came)
        for pong in self._frames.data_to_send():
            if pong:
                self.send(pong)
