"""The log in Redis, as the others know it: the port.

Owns: who does what. Invariant: nobody is told two messages under one life and position, and a failover, an
emptied or a restored Redis is another life wherever that could happen.
"""

from asyncio import Future
from collections.abc import AsyncIterator, Sequence

from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Message, Receipt
from tidings.logs.base import Batch, Log
from tidings.logs.redis.join import unavailable
from tidings.logs.redis.known import Known
from tidings.logs.redis.link import Failed
from tidings.logs.redis.script import Terms
from tidings.logs.redis.tail import Tail
from tidings.logs.redis.url import parse
from tidings.logs.redis.writer import Writer


class RedisLog(Log):
    """The log that `url` names; see url.py. `partition` names one of several at the same place."""

    def __init__(self, url: str, retention: Retention | None = None, *, partition: int | None = None) -> None:
        self._place = parse(url, partition)
        self._terms = Terms(self._place, retention or Retention())
        self._known = Known(self._changed)
        self._writer: Writer | None = None
        self._tails: set[Tail] = set()
        self._closed = False

    @property
    def epoch(self) -> str:
        """See Log."""
        return "" if self._known.seen is None else self._known.seen.epoch

    @property
    def head(self) -> int:
        """See Log."""
        return 0 if self._known.seen is None else self._known.seen.position

    @property
    def away_since(self) -> float | None:
        """See Log. Who follows is the judge: readers depend on it, and it speaks with Redis every second."""
        if self._tails:
            return min(
                (since for tail in self._tails if (since := tail.away_since) is not None), default=None
            )
        return None if self._writer is None else self._writer.away_since

    async def open(self) -> None:
        """See Log."""
        self._writer = Writer(self._place, self._terms, self._known)
        await self._writer.open()

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log."""
        return self._opened().append(drafts)

    def refresh(self) -> "Future[None] | None":
        """See Log."""
        return self._opened().ask()

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """See Log. Reads all that is kept behind `after`, on a connection of its own: not for every day."""
        tail = Tail(self._place, self._terms, self._known, after)
        wanted = frozenset(channels)
        try:
            return await tail.read(wanted, limit)
        except (OSError, Failed, ValueError, SettingsError):
            raise unavailable("The log cannot be read.") from None

    async def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """See Log."""
        tail = Tail(self._place, self._terms, self._known, after)
        if self._closed:
            return
        self._tails.add(tail)
        batches = tail.follow()
        try:
            async for batch in batches:
                yield batch
        finally:
            self._tails.discard(tail)
            tail.stop()
            await batches.aclose()

    async def close(self) -> None:
        """See Log."""
        self._closed = True
        for tail in self._tails:
            tail.stop()
        if self._writer is not None:
            await self._writer.close()

    def _opened(self) -> Writer:
        assert self._writer is not None, "the log is opened before it is used"
        return self._writer

    def _changed(self, epoch: str) -> None:
        for tail in self._tails:
            tail.wake(epoch)
