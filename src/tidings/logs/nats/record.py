"""A message in NATS: its subject, its id against repeats, and what comes back of it.

Owns: the names. Does not own: the record's bytes (wire/record.py), the stream (stream.py).
Invariant: no two channels share a subject, and none is a wildcard.

    NAME.log.LIFE.CHANNEL     where each . of the channel's name is a =, which no channel's name holds
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tidings.core.message import Message
from tidings.wire.record import BadRecord, unpack

NS: Final = 1_000_000_000
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z"
).fullmatch

_log = logging.getLogger("tidings.logs")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stored message as it came."""

    position: int
    time_ns: int
    subject: str
    data: bytes


def channel_token(channel: str) -> str:
    """Return the one token of a subject that stands for `channel`."""
    return channel.replace(".", "=")


def message_id(channel: str, key: str) -> str:
    """Return what deduplicates `key` on `channel`: hashed, for it must not collide nor be long."""
    # Neither holds a zero byte.
    return hashlib.sha256(f"{channel}\0{key}".encode()).hexdigest()[:43]


def to_ns(text: str) -> int:
    """Return a time as the server writes it, in ns since the epoch; 0 for the server's zero time."""
    found = _TIME(text)
    if found is None or text.startswith("0001"):
        return 0
    seconds = int(datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp())
    return seconds * NS + int((found[2] or "").ljust(9, "0"))


def split(stream: str, subject: str) -> tuple[str, str]:
    """Return the life and the channel's token of a subject; two empty ones when it is none of ours."""
    head = f"{stream}.log."
    life, _, token = subject[len(head) :].partition(".")
    return (life, token) if subject.startswith(head) else ("", "")


class Reading:
    """Messages of one life as they are read, in order. Their times never go back, even if the server's do."""

    def __init__(self, stream: str, life: str) -> None:
        self._stream = stream
        self._life = life
        self._time_ms = 0

    def life_of(self, arrival: Arrival) -> str:
        """Return the life that a message was published in."""
        return split(self._stream, arrival.subject)[0]

    def message(self, arrival: Arrival) -> Message | None:
        """Return the message, or None with one line in the process's log when it is none of ours."""
        try:
            draft = unpack(arrival.data)
            if split(self._stream, arrival.subject)[1] != channel_token(draft.channel):
                raise BadRecord("its subject and its channel differ")
        except BadRecord as error:
            _log.warning(
                "log_bad_record stream=%s position=%d reason=%s", self._stream, arrival.position, error
            )
            return None
        self._time_ms = max(self._time_ms, arrival.time_ns // 1_000_000)
        return Message(
            self._life, arrival.position, draft.channel, self._time_ms, draft.data, draft.event, draft.key
        )
