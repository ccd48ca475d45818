"""What a subscriber is handed (messages and gaps), and what transports say beside that.

Owns: these values and their reading from the server's JSON. Does not own: which transport they came by.
Invariant: what does not have the wire's shape never becomes one of these; it raises BadAnswer.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from tidings.client.errors import BadAnswer

_T = TypeVar("_T")


@dataclass(frozen=True)
class Message:
    """One message. `id` is a cursor: give it as `after=` to go on behind this message."""

    id: str
    channel: str
    # Milliseconds since the Unix epoch, by the server's clock.
    time_ms: int
    # What kind of message it is; None: the publisher did not say.
    event: str | None
    # Which state it is the newest value of; None: it is not one of a state.
    key: str | None
    # The publisher's own JSON text, byte for byte.
    data_json: bytes
    # The whole message's JSON as it came.
    json: bytes

    @cached_property
    def data(self) -> Any:
        """The publisher's JSON value, decoded when it is first asked for."""
        return msgspec.json.decode(self.data_json)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of `channel` between two cursors can no longer be had.

    `reason` is `retention` (too old), `epoch` (the log began anew), `ahead` (the cursor is from the future)
    or `cursor` (it is none).
    """

    channel: str
    after: str
    resumed: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The server's first sign of life on a connection, and where the subscription stands."""

    cursor: str | None


@dataclass(frozen=True, slots=True)
class Reached:
    """The server says outright where the client stands now, behind everything sent before this."""

    cursor: str


class Advice(msgspec.Struct, frozen=True):
    """The server's hints; None: it has none on this."""

    poll_ms: float | None = None
    retry_ms: float | None = None
    transport: str | None = None
    reconnect_within_ms: float | None = None


Sign = Ready | Reached | Message | Gap | Advice


class _Envelope(msgspec.Struct):
    id: str
    channel: str
    time: int
    data: msgspec.Raw
    event: str | None = None
    key: str | None = None


class _Gap(msgspec.Struct):
    channel: str
    resumed: str
    reason: str
    # The server repeats the client's cursor, which need not have been one of its own.
    after: str = ""


class Answer(msgspec.Struct):
    """The answer to a poll or a long-poll."""

    messages: list[msgspec.Raw]
    cursor: str
    gap: list[_Gap] = []
    more: bool = False
    advice: Advice | None = None

    def signs(self) -> list[Sign]:
        """Return what the answer says, gaps before the messages behind them."""
        signs: list[Sign] = [] if self.advice is None else [self.advice]
        signs += (as_gap(gap) for gap in self.gap)
        signs += (read_message(bytes(raw)) for raw in self.messages)
        signs.append(Reached(self.cursor))
        return signs


class End(msgspec.Struct):
    """The server's last word on a connection: why it closes, and by its code whether to come back."""

    code: int
    reason: str = ""


_NOTHING = msgspec.Raw(b"")


class Frame(msgspec.Struct):
    """One WebSocket frame of the server; the member that is set says what it is; others are let pass."""

    # Taken as they are and read later: a message is kept as the server wrote it.
    ready: msgspec.Raw = _NOTHING
    message: msgspec.Raw = _NOTHING
    gap: _Gap | None = None
    advice: Advice | None = None
    error: Any = None
    end: End | None = None


class _Ready(msgspec.Struct):
    cursor: str | None = None


def read_message(text: bytes) -> Message:
    """Return the message that this JSON is, or raise BadAnswer."""
    envelope = read(text, _Envelope)
    return Message(
        envelope.id,
        envelope.channel,
        envelope.time,
        envelope.event,
        envelope.key,
        bytes(envelope.data),
        text,
    )


def read_ready(text: bytes) -> Ready:
    """Return the `ready` that this JSON is, or raise BadAnswer."""
    return Ready(read(text, _Ready).cursor)


def read_gap(text: bytes) -> Gap:
    """Return the gap that this JSON is, or raise BadAnswer."""
    return as_gap(read(text, _Gap))


def as_gap(gap: _Gap) -> Gap:
    return Gap(gap.channel, gap.after, gap.resumed, gap.reason)


def read(text: bytes, shape: type[_T]) -> _T:
    """Return the JSON as this shape, or raise BadAnswer."""
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as why:
        raise BadAnswer(f"what came is not what a Tidings server sends: {why}") from None
