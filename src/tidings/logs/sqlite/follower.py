"""One reader of the tail: from the file while it is behind, handed what is committed while it is not.

Owns: what was handed over and not taken yet, bounded. Lives in the event loop's thread; the writer's thread
calls nothing here but through the loop.
Invariant: `position` is that of the last message handed over or read. `live` is set by the same callback
that brings the end of what is kept, in the order of commits: what is committed later comes by `put`.
"""

from asyncio import Future, get_running_loop
from collections.abc import Sequence

from tidings.core import limits
from tidings.core.message import Hole, Life, Message


class Follower:
    """A reader that is at `position`, and is told of its life first."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.live = False
        self.asked = False  # the writer was asked to read on
        self.fresh = True  # it knows of no life yet
        self.lives = 0  # answers to a question from before another life began are not taken
        self.told: list[Life | Hole] = []
        self._messages: list[Message] = []
        self._waiter: Future[None] | None = None

    def put(self, messages: Sequence[Message]) -> None:
        """Hand over what was committed. A reader that does not take reads it from the file later."""
        if not self.live:
            return
        if len(self._messages) > limits.LOG_PENDING:
            self.live = False
            self.position = self._messages[0].position - 1
            self._messages = []
        else:
            self._messages.extend(messages)
            self.position = messages[-1].position
        self.wake()

    def read(
        self,
        lives: int,
        told: Sequence[Life | Hole],
        messages: Sequence[Message],
        position: int,
        *,
        live: bool,
    ) -> None:
        """Hand over what was read from the file, up to `position`; `live` says that there was no more."""
        if lives != self.lives:
            return
        self.asked = self.fresh = False
        self.told.extend(told)
        self._messages.extend(messages)
        self.position = position
        self.live = live
        self.wake()

    def begin(self) -> None:
        """Another life has begun: all that is kept of it follows."""
        self.lives += 1
        self.position = 0
        self.live = self.asked = False
        self.fresh = True
        self.told, self._messages = [], []
        self.wake()

    def wake(self) -> None:
        """Have the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> tuple[Sequence[Life | Hole], Sequence[Message]]:
        """Return what was handed over since it was last taken."""
        taken = self.told, self._messages
        self.told, self._messages = [], []
        return taken

    async def wait(self) -> None:
        """Return when there may be something to take."""
        self._waiter = get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
