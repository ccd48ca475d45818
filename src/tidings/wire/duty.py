"""What a parent and its workers say to each other besides the log: to begin, to stop, and what was counted.

Owns: the frames' contents and their check. Does not own: framing (frames.py), who says what when
(server/workers.py, server/worker.py).
"""

import msgspec

from tidings.wire.frames import BadFrame, frame


class _Frame(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    pass


# --- a parent says ----------------------------------------------------------------------------------


class Begin(_Frame, tag=1):
    """The first frame: all that a worker needs. Descriptors are those that it was started with.

    `settings` is JSON; it comes this way and not as an argument because everybody may list those.
    """

    number: int
    settings: bytes
    sockets: list[int]
    log: int | None
    url: str
    loopback: bool


class Quiet(_Frame, tag=2):
    """Publish nothing more, and say when all that was published is answered."""


class Leave(_Frame, tag=3):
    """Drain and end."""


class Now(_Frame, tag=4):
    """End at once."""


class Count(_Frame, tag=5):
    """Report."""


class Accept(_Frame, tag=7):
    """Take connections: all that were to start are ready."""


class Others(_Frame, tag=6):
    """The answer to Gather: the counters of all other workers, dead ones included, and the gauges of each."""

    counters: dict[str, float]
    gauges: list[dict[str, float]]


# --- a worker says ----------------------------------------------------------------------------------


class Ready(_Frame, tag=11):
    """All is there but connections."""


class Failed(_Frame, tag=12):
    """It cannot begin; the text says why, and what to do."""

    why: str


class Quieted(_Frame, tag=13):
    """The answer to Quiet."""


class Asked(_Frame, tag=14):
    """Somebody has asked this one worker to end."""


class Report(_Frame, tag=15):
    """What was counted since its start, and what is there now."""

    counters: dict[str, float]
    gauges: dict[str, float]


class Gather(_Frame, tag=16):
    """Ask all others to report, and say what they do."""


Order = Begin | Accept | Quiet | Leave | Now | Count | Others
Word = Ready | Failed | Quieted | Asked | Report | Gather

_encode = msgspec.msgpack.Encoder().encode
_order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_word: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)


def pack(value: Order | Word) -> bytes:
    """Return the frame that says `value`."""
    return frame(_encode(value))


def order(body: bytes) -> Order:
    """Return what the parent says. Raises BadFrame."""
    try:
        return _order.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None


def word(body: bytes) -> Word:
    """Return what a worker says. Raises BadFrame."""
    try:
        return _word.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from None
