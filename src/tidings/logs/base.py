"""The log port: what every log promises.

A log numbers messages, keeps them, and hands on an unbroken tail of them. It knows nothing of
channels as subscribers see them, of clients, or of transports.

Owns: the contract. One suite holds every log to it: tests/logs/test_logs.py.
"""

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import AsyncIterator, Iterator, Sequence

from tidings.core import limits
from tidings.core.message import Draft, Hole, Life, Message, Receipt
from tidings.core.numbering import ONE_LOG, Numbering

Batch = Sequence[Message] | Life | Hole
"""What a follower is handed at once: one message or more, that a life begins, or that some are missing."""


class Log(ABC):
    """An ordered log of messages.

    Contract, for every implementation:

    - Positions rise by the order of appending, over all channels together, from 1. They may skip.
    - What a publisher appends after an answer stands behind what was answered.
    - `follow` brings every message once, in order; it reconnects by itself and goes on from the
      last position it saw, so that a follower may fall behind but never goes deaf.
    - A life of the log whose positions mean something else has another `epoch`. A log whose head
      has gone back (it was emptied, or a failover lost its tail) begins a new life; nobody is ever told
      two different messages under one epoch and position.
    - Nothing that the log's medium holds is trusted: a record that is not ours, too large or of
      another version is passed over with one line in the process's own log.
    """

    @property
    @abstractmethod
    def epoch(self) -> str:
        """Which life of the log this is, as far as is known here: 1 to 32 characters of `a-z0-9`."""

    @property
    @abstractmethod
    def head(self) -> int:
        """The highest position of this life that is known here to have been given out; 0 before the first.

        It may be ahead of what a follower has brought, and behind what other processes have appended:
        `refresh` finds out.
        """

    @property
    def numbering(self) -> Numbering:
        """How positions are told as cursors. Only a log of partitions has another than the plain one."""
        return ONE_LOG

    @property
    def away_since(self) -> float | None:
        """When the log was last heard, in the event loop's seconds, while it cannot be heard; else None.

        A log in this process is never away.
        """
        return None

    @property
    def refusing(self) -> str:
        """Why appends are refused now, though the log is heard: a disk that is full, say. Else empty."""
        return ""

    @abstractmethod
    async def open(self) -> None:
        """Make the log ready: called once, before anything else, in the event loop that will use it.

        Raises SettingsError, with what to do, when the log cannot be used: it is not reachable within
        `limits.LOG_OPEN_TIMEOUT`, refuses our credentials, or holds something that is not ours.
        """

    @abstractmethod
    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """Number and keep `drafts`; the future holds a receipt for each, in order.

        The future is done at once where the log is in memory, so that its caller need not wait.
        It fails with a Refusal `log_unavailable` when the log does not answer within
        `limits.LOG_TIMEOUT`, and at once while it is known to be away or more than
        `limits.LOG_PENDING` messages wait; whether the messages were kept may then be unknown, and asking
        again under the same idempotency keys finds out. Cancelling the future does not undo the
        append. An empty batch is answered with an empty list.
        """

    def refresh(self) -> "Future[None] | None":
        """Ask the log which life it is in and where its head is: `epoch` and `head` are true when it is done.

        None where they always are, as in a log in this process. The future fails like `append`'s.
        Those who ask while a question is on the way share its answer.
        """
        return None

    @abstractmethod
    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """Return at most `limit` kept messages of `channels` behind position `after`, oldest first."""

    @abstractmethod
    def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """Yield what the log brings, in order, in batches as they come.

        First the Life that it is in, then every kept message behind `after`, then what is appended.
        Where the message at the head is kept no more, the Life's marks reach up to the head.
        A Hole where messages that should follow are kept no more: this follower was away for too long; or,
        not `ours`, where the last that is there was passed over, so that a follower knows it is at the head.
        A Life, then all that is kept of it, when another life has begun.
        Batches are bounded (about `limits.ANSWER_BYTES` of data): no one of them holds up the event loop.
        Ends when the log is closed. Closing the iterator gives back what the following held.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give back what the log holds. Everything that was acknowledged stays kept.

        Appends that are not answered yet are answered, or fail, first.
        """


def bounded(
    messages: Sequence[Message], most_bytes: int = limits.ANSWER_BYTES
) -> Iterator[Sequence[Message]]:
    """Cut `messages` into batches of about `most_bytes` of data, each of at least one message."""
    start = 0
    room = most_bytes
    for end, message in enumerate(messages):
        room -= len(message.data)
        if room < 0 and end > start:
            yield messages[start:end]
            start, room = end, most_bytes - len(message.data)
    if start < len(messages):
        yield messages[start:] if start else messages
