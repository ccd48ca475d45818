"""What a worker appends: joined into one question a turn, and each answered with its own receipts.

Owns: appends from their asking to their answer. Does not own: when the question goes out, its number and its
time limit (log.py).
Invariant: receipts are given in the order of the drafts, and each append is answered or refused once.
"""

from asyncio import Future
from collections.abc import Sequence
from typing import Any, Final

from tidings.core.errors import Refusal
from tidings.core.message import Cursor, Draft, Receipt
from tidings.wire import shared_log as wire
from tidings.wire.frames import BadFrame

_FRAME: Final = 1024 * 1024  # appends that are joined, in bytes
_OVERHEAD: Final = 600  # of a draft's names, at most


def size_of(drafts: Sequence[Draft]) -> int:
    """Return how long `drafts` are in a frame, at most, in bytes."""
    return sum(len(draft.data) + _OVERHEAD for draft in drafts)


class Appends:
    """Those that are not asked yet, and how many messages in all wait for their receipts (`pending`)."""

    def __init__(self) -> None:
        self.pending = 0
        self._next = _Joined(self)
        self._size = 0

    @property
    def waiting(self) -> bool:
        """Whether there is something to ask."""
        return bool(self._next.rows)

    def is_full(self, size: int) -> bool:
        """Whether `size` bytes more would make too long a question."""
        return self._size + size > _FRAME

    def add(self, drafts: Sequence[Draft], size: int, answer: "Future[list[Receipt]]") -> None:
        """Take `drafts` of that size; `answer` is done when they are kept, or refused."""
        self._next.rows += [wire.draft_row(draft) for draft in drafts]
        self._next.askers.append((answer, len(drafts)))
        self._size += size
        self.pending += len(drafts)

    def take(self) -> "_Joined":
        """Return the question that is to be asked now."""
        joined, self._next, self._size = self._next, _Joined(self), 0
        return joined


class _Joined:
    """The appends of one question."""

    def __init__(self, appends: Appends) -> None:
        self.rows: list[Any] = []
        self.askers: list[tuple[Future[list[Receipt]], int]] = []
        self._appends = appends

    def answered(self, told: wire.Appended) -> None:
        """Give each append its receipts."""
        if len(told.positions) != len(self.rows):
            raise BadFrame("as many positions as there were drafts are wanted")
        self._appends.pending -= len(self.rows)
        epoch, durability = told.epoch, told.durability
        at = 0
        for answer, size in self.askers:
            positions = told.positions[at : at + size]
            at += size
            if not answer.done():
                answer.set_result(
                    [Receipt(Cursor(epoch, abs(one)), durability, duplicate=one < 0) for one in positions]
                )

    def refused(self, why: Refusal) -> None:
        """Tell each append that there is no answer."""
        self._appends.pending -= len(self.rows)
        for answer, _ in self.askers:
            if not answer.done():
                answer.set_exception(why)
