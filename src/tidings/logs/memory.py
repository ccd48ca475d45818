"""The log in this process's memory: nothing to install, gone at exit, a new epoch each start.

Owns: numbering, idempotency, the messages. Promise 6 follows from the epoch: a log that
restarts never serves wrong messages under old cursors.
"""

import secrets
import time
from asyncio import Future, get_running_loop
from collections.abc import AsyncIterator, Callable, Sequence

from tidings.core import limits
from tidings.core.history import History, Retention
from tidings.core.message import Cursor, Draft, Durability, Life, Message, Receipt
from tidings.logs.base import Batch, Log, bounded


def new_epoch() -> str:
    """Return a name for a new life of a log: 40 random bits, which two lives do not share."""
    return secrets.token_hex(5)


class MemoryLog(Log):
    """A log in memory. `clock` returns seconds since the Unix epoch."""

    def __init__(
        self,
        retention: Retention | None = None,
        *,
        clock: Callable[[], float] = time.time,
        epoch: str | None = None,
        idempotency_age: float = limits.IDEMPOTENCY_AGE,
        idempotency_keys: int = limits.IDEMPOTENCY_KEYS,
    ) -> None:
        self._epoch = epoch or new_epoch()
        self._clock = clock
        self._head = 0
        self._time_ms = 0
        self._history = History(retention)
        self._idempotency_age_ms = int(idempotency_age * 1000)
        self._idempotency_keys = idempotency_keys
        # (channel, key) → (time_ms, position), the oldest first. A tuple: joined strings could collide.
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        self._followers: set[_Follower] = set()
        self._closed = False

    @property
    def epoch(self) -> str:
        """See Log."""
        return self._epoch

    @property
    def head(self) -> int:
        """See Log; here exact."""
        return self._head

    async def open(self) -> None:
        """See Log; there is nothing to do."""

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log; the future is done at once."""
        # A clock that is set back does not take the order of times with it.
        self._time_ms = now_ms = max(self._time_ms, int(self._clock() * 1000))
        messages: list[Message] = []
        receipts = [self._append(draft, now_ms, messages) for draft in drafts]
        if messages:
            for follower in self._followers:
                follower.put(messages)
            self._history.trim(now_ms)
        done: Future[list[Receipt]] = get_running_loop().create_future()
        done.set_result(receipts)
        return done

    def _append(self, draft: Draft, now_ms: int, messages: list[Message]) -> Receipt:
        if draft.idempotency_key is not None:
            self._forget_keys(now_ms)
            seen = self._seen.get((draft.channel, draft.idempotency_key))
            if seen is not None:
                return Receipt(Cursor(self._epoch, seen[1]), Durability.MEMORY, duplicate=True)
        self._head += 1
        if draft.idempotency_key is not None:
            self._seen[draft.channel, draft.idempotency_key] = (now_ms, self._head)
        message = Message(self._epoch, self._head, draft.channel, now_ms, draft.data, draft.event, draft.key)
        self._history.append(message)
        messages.append(message)
        return Receipt(Cursor(self._epoch, self._head), Durability.MEMORY)

    def _forget_keys(self, now_ms: int) -> None:
        seen = self._seen
        while seen:
            oldest = next(iter(seen))
            if len(seen) < self._idempotency_keys and seen[oldest][0] > now_ms - self._idempotency_age_ms:
                return
            del seen[oldest]

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """See Log."""
        self._history.trim(int(self._clock() * 1000))
        return self._history.read(channels, after, limit=limit, most_bytes=limits.HISTORY_BYTES).messages

    async def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """See Log."""
        follower = _Follower(self._history.all_after(after))
        self._followers.add(follower)
        try:
            yield Life(self._epoch, *self._history.lost())
            while not self._closed:
                if messages := follower.take():
                    for batch in bounded(messages):
                        yield batch
                else:
                    await follower.wait()
        finally:
            self._followers.discard(follower)

    async def close(self) -> None:
        """See Log."""
        self._closed = True
        for follower in self._followers:
            follower.wake()


class _Follower:
    """What was appended since its reader last took. One turn of the loop's worth, as the reader takes all."""

    __slots__ = ("_messages", "_waiter")

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self._waiter: Future[None] | None = None

    def put(self, messages: list[Message]) -> None:
        self._messages.extend(messages)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    async def wait(self) -> None:
        self._waiter = get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
