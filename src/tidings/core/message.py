"""What travels: messages, and the cursors and gaps that say where a client stands.

Owns: the values and how they order. Does not own: their bytes (wire/), their keeping (window.py, logs/).
Invariant: within one epoch positions rise by the log's order, and a cursor at position p means
"I have everything up to and including p".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the log: the life of the log it belongs to, and a position in it (spec §3).

    Position 0 stands before the first message. In a log of several partitions the place is a position
    in each of `partitions` (partition, position), rising by partition; `position` is 0 then.
    """

    epoch: str
    position: int
    partitions: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True, eq=False)
class Message:
    """One message as the log keeps it.

    `data` is the publisher's own JSON text, checked once where it entered and never parsed again.
    `time_ms` is milliseconds since the Unix epoch, as the log saw it.
    `label` is the text of its cursor where the position alone does not say it (partitions).
    The three last fields belong to wire/, which fills each at its first use: a message is rendered
    once per transport, however many subscribers, late pollers and catch-ups ask for it.
    """

    epoch: str
    position: int
    channel: str
    time_ms: int
    data: bytes
    event: str | None = None
    key: str | None = None
    label: str | None = None
    envelope: bytes | None = field(default=None, repr=False)
    event_stream: bytes | None = field(default=None, repr=False)
    web_socket: bytes | None = field(default=None, repr=False)

    @property
    def weight(self) -> int:
        """Bytes of memory this message may come to hold: itself, its data, and three renderings of it."""
        return _MESSAGE_OVERHEAD + 4 * len(self.data)


# The object, its strings and numbers, and three times an envelope without data; measured with tracemalloc.
_MESSAGE_OVERHEAD = 900


@dataclass(frozen=True, slots=True)
class Life:
    """A life of the log begins, or is come into: what a follower learns first of all.

    What is kept of it follows. `marks` says for single channels up to which position their messages
    may be gone; `lost_through` says it for all others. Both are 0, or empty, where none is gone. Where the
    message at the log's head is gone itself, one of them reaches up to the head.
    """

    epoch: str
    lost_through: int = 0
    marks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hole:
    """A follower was away for too long: what it has not seen, up to `through`, is gone.

    Where it was not `ours` nobody missed anything: what stands there is no message, and was passed over.
    Of a log of partitions it is one `partition`'s alone.
    """

    through: int
    ours: bool = True
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before the log has numbered it.

    `idempotency_key` makes a second append on the same channel answer with the first one's id
    (spec §6.3); it is not part of the message. `key` is: it names the state that this message is
    the newest value of.
    """

    channel: str
    data: bytes
    event: str | None = None
    key: str | None = None
    idempotency_key: str | None = None


class Durability(StrEnum):
    """The medium a message had reached when its publisher was answered (spec §6.2)."""

    MEMORY = "memory"
    STORED = "stored"
    SYNCED = "synced"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The log's word that it has a message: where it stands, and how safely."""

    cursor: Cursor
    durability: Durability
    duplicate: bool = False


class GapReason(StrEnum):
    """Why messages behind a cursor can no longer be had (spec §3.3)."""

    RETENTION = "retention"
    EPOCH = "epoch"
    AHEAD = "ahead"
    CURSOR = "cursor"


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of `channel` between `after` and `resumed` can no longer be had.

    `after` is the text of the client's own cursor, which need not be one of ours.
    """

    channel: str
    after: str
    resumed: Cursor
    reason: GapReason
