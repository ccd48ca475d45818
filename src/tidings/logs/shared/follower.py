"""What a worker's log was brought and its reader has not taken yet.

Owns: the order of batches, and their size. Does not own: how much may wait (log.py).
"""

from asyncio import AbstractEventLoop, Future
from collections import deque

from tidings.core.message import Hole, Life, Message


class Follower:
    """What was brought since its reader last took."""

    __slots__ = ("_loop", "_waiter", "batches", "marks")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: Future[None] | None = None
        self.batches: deque[tuple[Life | Hole | list[Message], int]] = deque()
        self.marks: dict[str, int] = {}

    def put(self, messages: list[Message]) -> int:
        """Take messages, joined with those that wait; return how many bytes that is more."""
        size = sum([len(m.data) for m in messages]) + 300 * len(messages)
        if self.batches and isinstance(last := self.batches[-1][0], list):
            last += messages
            self.batches[-1] = (last, self.batches[-1][1] + size)
        else:
            self.batches.append((messages, size))
        self.wake()
        return size

    def tell(self, what: Life | Hole) -> None:
        """Take what is no message."""
        self.batches.append((what, 0))
        self.wake()

    def take(self) -> tuple[Life | Hole | list[Message], int]:
        """Return the oldest of what waits, and its size."""
        return self.batches.popleft()

    def wake(self) -> None:
        """Let the reader look."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for what comes."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
