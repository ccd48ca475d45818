"""What everyone wrote down: the evidence that the checker decides on.

Owns: messages by id, with who first saw which text under it; what each connection heard; what each
publisher was told. Does not own: what is right (checker.py).
Invariant: nothing is ever taken back; a second text under one id is broken the moment it is seen.
"""

import time
import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec


class Cursor(NamedTuple):
    """A cursor taken apart. Clients may do that to compare positions, and for nothing else (spec §3.2).

    A partition is a log of its own: `9f3k-2.77` is position 77 of what is called `9f3k-2` here.
    """

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}{'.' if '-' in self.epoch else '-'}{self.position}"


def cursor_of(text: str) -> Cursor:
    """Return `text` taken apart; ValueError when it is no cursor, or one of several partitions."""
    epoch, mark, position = text.rpartition("." if "." in text else "-")
    if not epoch or not mark or not position.isdigit() or epoch.count("-") != (mark == "."):
        raise ValueError(f"{text!r} is not a cursor")
    return Cursor(epoch, int(position))


class _Message(msgspec.Struct):
    id: str
    channel: str
    time: int
    data: msgspec.Raw
    event: str | None = None
    key: str | None = None


class _Data(msgspec.Struct):
    """What our publishers publish: who, its running number, and a checksum over all of it."""

    p: str
    n: int
    pad: str
    sum: int


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_data = msgspec.json.Decoder(_Data).decode


def checksum(publisher: str, number: int, pad: str) -> int:
    """Return the checksum that the data of a message carries."""
    return zlib.crc32(f"{publisher}/{number}/{pad}".encode())


@dataclass(slots=True)
class Entry:
    """One message of the log. `text` and `data` are hashes of the bytes: of the whole, and of its data."""

    channel: str
    time_ms: int
    publisher: str
    number: int
    key: str | None
    text: int
    data: int
    first_seen_by: str


@dataclass(slots=True)
class Sent:
    """One message as its publisher knows it. `key` is its idempotency key, `state` the message's own key.

    `acks` are (id by channel, duplicate, first sent, answered).
    """

    publisher: str
    number: int
    channels: tuple[str, ...]
    data: int
    key: str | None
    state: str | None = None
    attempts: int = 0
    acks: list[tuple[dict[str, str], bool, float, float]] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """One connection of one subscriber. `events` are tuples whose first member says what came; see
    subscribers.py.

    `after` is the cursor it was opened with, `start` the query it was opened with where there was no cursor.
    """

    client: str
    serial: int
    transport: str
    via: str
    channels: tuple[str, ...]
    after: str | None
    start: str
    began: float
    events: list[tuple[Any, ...]] = field(default_factory=list)

    def __str__(self) -> str:
        names = ",".join(self.channels) if len(self.channels) <= 5 else f"{len(self.channels)} channels"
        asked = f"after={self.after}" if self.after else self.start or "from now on"
        return f"{self.client} connection {self.serial}: {self.transport} {self.via}, {names}, {asked}"


class Book:
    """Everything that was written down in one run."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.epochs: list[str] = []
        self.sessions: dict[str, list[Session]] = {}
        self.sent: dict[tuple[str, int], Sent] = {}
        self.truth: dict[str, list[int]] = {}
        # (epoch, channel, after, through): what went by between two connections of the truth.
        self.unheard: list[tuple[str, str, int, int]] = []
        # (gap, milliseconds): what was pushed out of the window before the truth had it, and when it heard.
        self.pushed_out: list[tuple[dict[str, Any], int]] = []
        self.broken: list[str] = []
        self.deliveries = 0

    def saw(self, text: bytes, who: str) -> tuple[str, str]:
        """Write down the JSON of a message that somebody was sent; return its id and its channel."""
        self.deliveries += 1
        message = _decode_message(text)
        digest = hash(text)
        known = self.entries.get(message.id)
        if known is None:
            data = bytes(message.data)
            try:
                inner = _decode_data(data)
                publisher, number = inner.p, inner.n
                if inner.sum != checksum(publisher, number, inner.pad):
                    self.broken.append(f"{who} was sent {message.id} with a wrong checksum: {text[:300]!r}")
            except msgspec.DecodeError:
                publisher, number = "?", 0
                self.broken.append(f"{who} was sent {message.id}, which nobody published: {text[:300]!r}")
            self.entries[message.id] = Entry(
                message.channel, message.time, publisher, number, message.key, digest, hash(data), who
            )
        elif known.text != digest:
            self.broken.append(
                f"{who} was sent another text under {message.id} than {known.first_seen_by}: {text[:300]!r}"
            )
        return message.id, message.channel

    def session(self, opened: Session) -> Session:
        """Keep the record of a connection that begins."""
        self.sessions.setdefault(opened.client, []).append(opened)
        return opened


def now_ms() -> int:
    """Return the time as the log tells it, in milliseconds since the Unix epoch; the same machine's clock."""
    return int(time.time() * 1000)
