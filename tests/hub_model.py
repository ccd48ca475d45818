"""A hub without sockets: a log that is a list, connections that record, and a clock that is set.

Owns: the simulated parts, and the judgement whether what a client saw was right.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from weakref import WeakValueDictionary

from tidings.core.history import Retention
from tidings.core.message import Cursor, Draft, Durability, Hole, Life, Message, Receipt
from tidings.hub import Hub
from tidings.logs.base import Batch, Log
from tidings.transports.carrier import Exchange, Writer
from tidings.wire import event_stream
from tidings.wire.http import Response


class ListLog(Log):
    """A log that is a list. `pending` is what the hub has not been given yet."""

    def __init__(self, epoch: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin(epoch)

    def begin(self, epoch: str) -> None:
        """Begin a life, with nothing in it."""
        self._epoch = epoch
        self.messages: list[Message] = []
        self.pending: list[Message] = []

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return len(self.messages)

    def append(self, drafts: Sequence[Draft]) -> "asyncio.Future[list[Receipt]]":
        receipts = []
        for draft in drafts:
            time_ms = int(self._clock() * 1000)
            message = Message(
                self._epoch, self.head + 1, draft.channel, time_ms, draft.data, draft.event, draft.key
            )
            self.messages.append(message)
            self.pending.append(message)
            receipts.append(Receipt(Cursor(self._epoch, message.position), Durability.MEMORY))
        future: asyncio.Future[list[Receipt]] = asyncio.Future(loop=_LOOP)
        future.set_result(receipts)
        return future

    async def open(self) -> None:
        pass

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        return [m for m in self.messages if m.channel in channels and m.position > after][:limit]

    async def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        yield Life(self._epoch)
        yield [m for m in self.messages if m.position > after]

    async def close(self) -> None:
        pass


_LOOP = asyncio.new_event_loop()  # futures want one; it never turns


class World:
    """One life of a server after another, on one clock."""

    def __init__(self, retention: Retention, write_buffer: int) -> None:
        self.now = 1_000_000.0
        self.retention = retention
        self.write_buffer = write_buffer
        self.soon: list[Callable[[], None]] = []
        self.lives = 0
        self.restart()

    def restart(self) -> None:
        """Begin a new life of the log: everything before is gone."""
        self.lives += 1
        self.soon.clear()
        self.log = ListLog(f"e{self.lives}", lambda: self.now)
        self.hub = Hub(
            self.log,
            self.retention,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            soon=self.soon.append,
            send=send,
            write_buffer=self.write_buffer,
        )
        self.hub.begin(Life(self.log.epoch))

    def another_life(self) -> None:
        """The log begins a new life under the hub, which goes on."""
        self.lives += 1
        self.log.begin(f"e{self.lives}")
        self.hub.begin(Life(self.log.epoch))

    def lose(self) -> None:
        """What was appended and is not delivered can no longer be had: this node was away for too long."""
        self.log.pending = []
        self.hub.lose(Hole(self.log.head))

    def publish(self, channel: str, data: bytes) -> None:
        self.hub.publish([Draft(channel, data)])

    def deliver(self) -> None:
        """One turn of the loop: what was appended comes to the hub, joined."""
        if self.log.pending:
            batch, self.log.pending = self.log.pending, []
            self.hub.deliver(batch)

    def settle(self) -> None:
        """Turn the loop until nothing is left to do."""
        self.deliver()
        while self.soon:
            callbacks, self.soon[:] = list(self.soon), []
            for callback in callbacks:
                callback()


_descriptors = count(10)
_open: "WeakValueDictionary[int, RecordingConnection]" = WeakValueDictionary()


def send(descriptor: int, data: bytes) -> int:
    """Write to a descriptor as `os.write` does."""
    return _open[descriptor].take(data)


class RecordingConnection:
    """A Carrier that keeps what is written, and pushes back when it is told to.

    With `direct` the hub may send to its descriptor, which takes part of the bytes where it is to push back.
    """

    def __init__(self, *, direct: bool = True) -> None:
        self.descriptor = next(_descriptors) if direct else None
        if self.descriptor is not None:
            _open[self.descriptor] = self
        self.exchange: Exchange | None = None
        self.written: list[bytes] = []
        self.response: Response | None = None
        self.refusals: list[str] = []
        self.push_back_after: int | None = None  # writes
        self.pushed_back = False
        self.closed = False
        self.breaks = False
        self.writes_refused = 0
        self.writes = 0

    def hold(self, exchange: Exchange, seconds: float) -> None:
        self.exchange = exchange

    def refused(self, code: str) -> None:
        self.refusals.append(code)

    def reply(self, response: Response) -> None:
        assert self.response is None, "a request was answered twice"
        self.response = response

    def open(self, exchange: Exchange, head: Response, first: bytes, *, takes_input: bool) -> None:
        self.exchange = exchange
        self.write(first)

    def write(self, data: bytes) -> None:
        assert not self.closed, "written to after it was closed"
        assert not self.pushed_back, "written to while it pushes back"
        if self.breaks:
            self.writes_refused += 1
            raise RuntimeError("the transport is closing")  # as uvloop does
        self.written.append(data)
        self.writes += 1
        if self.push_back_after is not None:
            self.push_back_after -= 1
            if self.push_back_after <= 0:
                self.push_back()

    def take(self, data: bytes) -> int:
        """Do what the kernel does: take all bytes, or only some when it is about to push back, or none."""
        assert not self.closed, "sent to after it was closed"
        assert not self.pushed_back, "sent to while it pushes back"
        if self.breaks:
            raise BrokenPipeError
        if self.push_back_after is None or self.push_back_after > 1:
            self.write(data)
            return len(data)
        part = len(data) // 3
        if part % 2:
            raise BlockingIOError
        self.written.append(data[:part])
        return part

    def push_back(self) -> None:
        assert self.exchange is not None
        self.push_back_after = None
        self.pushed_back = True
        self.exchange.pushed_back()

    def take_again(self) -> None:
        assert self.exchange is not None
        self.pushed_back = False
        self.exchange.took_again()

    @property
    def writer(self) -> Writer:
        return self.write

    def timer(self, seconds: float) -> None:
        assert seconds > 0

    def finish(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@dataclass
class Client:
    """A client that keeps one cursor, and judges everything it is told against the log."""

    channels: tuple[str, ...]
    world: World
    cursor: str | None = None
    position: int = 0  # what it has, in this life of the log
    epoch: str = ""
    covered: dict[str, int] = field(default_factory=dict)  # lost and told, by channel
    received: int = 0

    def stand_at(self, cursor: str) -> None:
        """Take a cursor that the server gave without a message."""
        epoch, _, position = cursor.partition("-")
        if self.epoch not in ("", epoch):
            self.covered = {}
        self.epoch, self.position, self.cursor = epoch, int(position), cursor

    def told_gap(self, gap: dict[str, str]) -> None:
        """Judge a gap: it is about our channel, begins where we stand, and covers what is really gone."""
        assert gap["channel"] in self.channels
        epoch, _, resumed = gap["resumed"].partition("-")
        assert epoch == self.world.log.epoch
        if gap["reason"] == "retention":
            after = int(gap["after"].partition("-")[2])
            # It may begin further on than we stand, but not behind a message of the channel.
            has = max(self.position, self.covered.get(gap["channel"], 0))
            between = self.world.log.messages[has:after]
            assert all(m.channel != gap["channel"] for m in between), "a gap begins behind a hole"
        kept = self.world.hub.history.read((gap["channel"],), 0, limit=10**6, most_bytes=10**9).messages
        assert all(m.position > int(resumed) for m in kept), "a gap covers messages that could be had"
        if epoch != self.epoch:
            self.epoch, self.position, self.covered = epoch, 0, {}
        self.covered[gap["channel"]] = max(self.covered.get(gap["channel"], 0), int(resumed))

    def told_message(self, message: dict[str, object]) -> None:
        """Judge a message: it is new, whole, and nothing between it and the last one is missing."""
        epoch, _, text = str(message["id"]).partition("-")
        position = int(text)
        log = self.world.log
        assert epoch == log.epoch == self.epoch
        assert position > self.position, "a repeat"
        truth = log.messages[position - 1]
        assert message["channel"] == truth.channel
        assert truth.channel in self.channels
        assert json.dumps(message["data"]).encode() == truth.data
        self._nothing_missing_before(position)
        self.cursor, self.position = str(message["id"]), position
        self.received += 1

    def _nothing_missing_before(self, position: int) -> None:
        for missed in self.world.log.messages[self.position : position - 1]:
            if missed.channel in self.channels:
                covered = self.covered.get(missed.channel, 0)
                assert missed.position <= covered, f"a silent hole at {missed.position}"

    def has_everything(self) -> None:
        """Judge that nothing is outstanding: what was delivered was told, as message or as gap."""
        if self.epoch == self.world.log.epoch:
            self._nothing_missing_before(self.world.hub.position + 1)


class StreamReader:
    """Reads what an event stream was written, and tells its client."""

    def __init__(self, client: Client, connection: RecordingConnection) -> None:
        self._client = client
        self._connection = connection
        self._parser = event_stream.Parser()

    def read(self) -> None:
        """Take in all that was written since the last time, in pieces."""
        data = b"".join(self._connection.written)
        self._connection.written.clear()
        for start in range(0, len(data), 1000):
            for event in self._parser.feed(data[start : start + 1000]):
                self._take(event)

    def _take(self, event: event_stream.Event) -> None:
        value = json.loads(event.data) if event.data else {}
        if event.event == "ready":
            if event.id:
                cursor = event.id
                # Another life's cursor is repeated, and moves only with the gap behind it.
                if cursor.partition("-")[0] == self._client.world.log.epoch:
                    self._client.stand_at(cursor)
        elif event.event == "gap":
            self._client.told_gap(value)
            if event.id:
                self._client.cursor = event.id
        elif event.event == "message":
            assert event.id == value["id"]
            self._client.told_message(value)


def frames(data: bytes) -> list[dict[str, dict[str, object]]]:
    """Return the JSON of unmasked text frames; the last one may have been cut with its connection."""
    found = []
    while len(data) >= 2:
        if data[0] == 0x88:
            assert len(data) == 2 + data[1], "nothing follows a close"
            break
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size:
            break
        found.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return found


class SocketReader:
    """Reads what a WebSocket was written, and tells its client."""

    def __init__(self, client: Client, connection: RecordingConnection) -> None:
        self._client = client
        self._connection = connection

    def read(self) -> None:
        """Take in all that was written since the last time."""
        data = b"".join(self._connection.written)
        self._connection.written.clear()
        resumed: list[int] = []
        for frame in frames(data):
            ((word, value),) = ((k, v) for k, v in frame.items() if k != "ref")
            if word == "ready":
                if str(value["cursor"]).partition("-")[0] == self._client.world.log.epoch:
                    self._client.stand_at(str(value["cursor"]))
            elif word == "gap":
                self._client.told_gap({k: str(v) for k, v in value.items()})
                if value["reason"] != "retention":
                    resumed.append(int(str(value["resumed"]).partition("-")[2]))
                    self._client.cursor = f"{self._client.epoch}-{min(resumed)}"
            elif word == "message":
                self._client.told_message(value)
