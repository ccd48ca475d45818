"""The log port: what every log promises.

A log numbers messages, keeps them, and hands on an unbroken tail of them. It knows nothing of
channels as subscribers see them, of clients, or of transports.
"""

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import AsyncIterator, Sequence

from tidings.core.message import Draft, Message, Receipt


class Log(ABC):
    """An ordered log of messages.

    Contract, for every implementation:

    - Positions rise by the order of appending, over all channels together, from 1.
    - What a publisher appends after an answer stands behind what was answered.
    - `follow` brings every message once, in order; it reconnects by itself and goes on from the
      last position it saw, so that a follower may fall behind but never goes deaf.
    - A life of the log whose positions mean something else has another `epoch`.
    """

    @property
    @abstractmethod
    def epoch(self) -> str:
        """Which life of the log this is: 1 to 32 characters of `a-z0-9`."""

    @property
    @abstractmethod
    def head(self) -> int:
        """The highest position that is known to have been given out; 0 before the first.

        A cursor above it is from the future; one above what a follower has seen, but not above
        this, comes from a node that is ahead.
        """

    @abstractmethod
    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """Number and keep `drafts`; the future holds a receipt for each, in order.

        The future is done at once where the log is in memory, so that its caller need not wait.
        It fails with a Refusal `log_unavailable` when the log cannot be reached in time; whether
        the messages were kept is then unknown, and asking again under the same idempotency keys
        finds out. Cancelling the future does not undo the append.
        """

    @abstractmethod
    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """Return at most `limit` kept messages of `channels` behind position `after`, oldest first."""

    @abstractmethod
    def follow(self, after: int) -> AsyncIterator[list[Message]]:
        """Yield every message behind `after` of all channels, in order, in batches as they come.

        Ends when the log is closed. Closing the iterator ends the following.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give back what the log holds. Everything that was acknowledged stays kept."""
