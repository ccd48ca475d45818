"""What is said between a log and the workers that share it (logs/shared/).

Owns: the frames' contents and their check. Does not own: framing (frames.py), who says what when.
Invariant: every frame has a type, and fields of the right kind and size; another version says so first.

A question bears a number that its answer repeats; a following bears one that all it brings repeats.
"""

from collections.abc import Iterable
from typing import Annotated, Final, TypeVar

import msgspec

from tidings.core import limits
from tidings.core.message import Draft, Durability, Message
from tidings.wire.frames import BadFrame, frame

VERSION: Final = 1

_Data = Annotated[bytes, msgspec.Meta(max_length=limits.LOG_RECORD_BYTES)]
_Epoch = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
_Position = Annotated[int, msgspec.Meta(ge=0)]
_Channel = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.CHANNEL_NAME_BYTES)]

_DraftRow = tuple[_Channel, _Data, str | None, str | None, str | None]
"""The fields of Draft, in its order."""
MessageRow = tuple[_Position, _Channel, int, _Data, str | None, str | None]
"""The fields of Message behind its epoch, in its order."""


class _Frame(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    pass


# --- a worker asks ----------------------------------------------------------------------------------


class Hello(_Frame, tag=1):
    """The first frame of a worker. Its version is looked at before anything else is."""

    version: int


class Append(_Frame, tag=2):
    """Number and keep these, which one or more appends brought."""

    number: int
    drafts: list[_DraftRow]


class Refresh(_Frame, tag=3):
    """Say which life the log is in, where its head is, and whether it refuses appends."""

    number: int


class Read(_Frame, tag=4):
    """See Log.read."""

    number: int
    channels: list[_Channel]
    after: _Position
    limit: _Position


class Follow(_Frame, tag=5):
    """See Log.follow."""

    number: int
    after: _Position


class Unfollow(_Frame, tag=6):
    """The following of this number is over."""

    number: int


# --- the log answers --------------------------------------------------------------------------------


class Welcome(_Frame, tag=11):
    """The answer to Hello."""

    version: int
    epoch: _Epoch
    head: _Position


class Appended(_Frame, tag=12):
    """The answer to Append: a position for each draft, negative where the message was there before."""

    number: int
    epoch: _Epoch
    head: _Position
    durability: Durability
    positions: list[int]


class Refused(_Frame, tag=13):
    """The answer to a question that the log cannot answer."""

    number: int
    detail: str


class Refreshed(_Frame, tag=14):
    """The answer to Refresh; `refusing` as Log.refusing says it."""

    number: int
    epoch: _Epoch
    head: _Position
    refusing: str


class Messages(_Frame, tag=15):
    """The answer to Read, or a part of it: `more` follows under the same number."""

    number: int
    epoch: _Epoch
    rows: list[MessageRow]
    more: bool


class Begun(_Frame, tag=16):
    """A following comes into a life of the log; `more` marks follow in frames of the same kind."""

    number: int
    epoch: _Epoch
    head: _Position
    lost_through: _Position
    marks: dict[_Channel, _Position]
    more: bool


class Lost(_Frame, tag=17):
    """What a following has not brought, up to `through`, is gone."""

    number: int
    through: _Position


class Brought(_Frame, tag=18):
    """The next messages of a following."""

    number: int
    epoch: _Epoch
    rows: list[MessageRow]


Question = Hello | Append | Refresh | Read | Follow | Unfollow
Answer = Welcome | Appended | Refused | Refreshed | Messages | Begun | Lost | Brought

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode
_question: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def pack(value: Question | Answer) -> bytes:
    """Return the frame that says `value`."""
    return frame(_encode(value))


def question(body: bytes) -> Question:
    """Return what a worker asks. Raises BadFrame."""
    return _decoded(_question, body)


def answer(body: bytes) -> Answer:
    """Return what the log answers. Raises BadFrame."""
    return _decoded(_answer, body)


def _decoded(decoder: "msgspec.msgpack.Decoder[_T]", body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None


def rows_of(messages: Iterable[Message]) -> list[MessageRow]:
    """Return `messages` as a frame holds them."""
    return [(m.position, m.channel, m.time_ms, m.data, m.event, m.key) for m in messages]


def messages_of(epoch: str, rows: Iterable[MessageRow]) -> list[Message]:
    """Return the messages that a frame holds."""
    return [Message(epoch, *row) for row in rows]


def draft_row(draft: Draft) -> _DraftRow:
    """Return `draft` as a frame holds it."""
    return (draft.channel, draft.data, draft.event, draft.key, draft.idempotency_key)


def drafts_of(rows: Iterable[_DraftRow]) -> list[Draft]:
    """Return the drafts that a frame holds."""
    return [Draft(*row) for row in rows]
