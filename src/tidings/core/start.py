"""From where a client wants to hear (spec §2.2), the same on all four transports."""

from dataclasses import dataclass

from tidings.core.message import Cursor


@dataclass(frozen=True, slots=True)
class Now:
    """Only what comes from now on."""


@dataclass(frozen=True, slots=True)
class Earliest:
    """Everything that is kept."""


@dataclass(frozen=True, slots=True)
class After:
    """What follows a cursor. `cursor` is None when `text` is none; `text` is at most 128 characters."""

    text: str
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class RewindCount:
    """The last `count` messages of all channels together, and what follows."""

    count: int


@dataclass(frozen=True, slots=True)
class RewindTime:
    """The messages of the last `seconds`, and what follows."""

    seconds: float


Start = Now | Earliest | After | RewindCount | RewindTime
