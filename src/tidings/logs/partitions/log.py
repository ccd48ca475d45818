"""One log made of several: channels are split over partitions by a hash, each a log of its own.

For the day when one stream of an engine cannot take all that is published. Each node follows all
partitions and lines their messages up as they come: its positions are its own, and no two nodes' agree. What
they agree on is each partition's order, so a cursor has a position in each partition that its client's
channels touch (spec §3.1), and any node finds its own place from that.

Owns: following all partitions, and lining their messages up. Does not own: what a cursor says of that
(numbering.py), the partitions, which are logs behind the same port.
Invariant: this node's positions of one partition's messages rise by that partition's positions.
"""

import asyncio
from asyncio import Future, get_running_loop
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Final

from tidings.core.message import Cursor, Draft, Hole, Life, Message, Receipt
from tidings.logs.base import Batch, Log
from tidings.logs.partitions.numbering import PartitionedNumbering, joined

_AHEAD: Final = 4  # batches of each partition that are read before they are lined up


class PartitionedLog(Log):
    """Several logs as one. Their number is the same at every node, and stays what it is."""

    def __init__(self, partitions: Sequence[Log]) -> None:
        self._partitions = partitions
        self._numbering = PartitionedNumbering(partitions)
        self._line = self._numbering.line

    @property
    def epoch(self) -> str:
        """See Log; another life of one partition is another life of all."""
        return joined([log.epoch for log in self._partitions])

    @property
    def head(self) -> int:
        """See Log: where this node's line ends, and what it knows to be missing from it."""
        known = zip(self._partitions, self._line.followed, strict=True)
        return self._line.end + sum(max(0, log.head - followed) for log, followed in known)

    @property
    def numbering(self) -> "PartitionedNumbering":
        """See Log."""
        return self._numbering

    @property
    def away_since(self) -> float | None:
        """See Log; a client may have channels of any partition, so one that is away is enough."""
        away = [since for log in self._partitions if (since := log.away_since) is not None]
        return min(away, default=None)

    async def open(self) -> None:
        """See Log."""
        await asyncio.gather(*(log.open() for log in self._partitions))

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log. Over several partitions a batch is not one act: some may be kept where others failed."""
        shares: dict[int, list[int]] = {}
        for index, draft in enumerate(drafts):
            shares.setdefault(self._numbering.partition(draft.channel), []).append(index)
        answer: Future[list[Receipt]] = get_running_loop().create_future()
        receipts: list[Receipt | None] = [None] * len(drafts)
        left = len(shares)

        def appended(partition: int, done: "Future[list[Receipt]]") -> None:
            nonlocal left
            left -= 1
            error = asyncio.CancelledError() if done.cancelled() else done.exception()
            if error is not None:
                if not answer.done():
                    answer.set_exception(error)
                return
            for index, receipt in zip(shares[partition], done.result(), strict=True):
                place = ((partition, receipt.cursor.position),)
                receipts[index] = replace(receipt, cursor=Cursor(receipt.cursor.epoch, 0, place))
            if not left and not answer.done():
                answer.set_result([receipt for receipt in receipts if receipt is not None])

        if not shares:
            answer.set_result([])
        for partition, indexes in shares.items():
            done = self._partitions[partition].append([drafts[index] for index in indexes])
            done.add_done_callback(partial(appended, partition))
        return answer

    def refresh(self) -> "Future[None] | None":
        """See Log."""
        asked = [future for log in self._partitions if (future := log.refresh()) is not None]
        if not asked:
            return None
        return asyncio.ensure_future(_all(asked))

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """See Log; `after` and the positions of what is read are this node's."""
        found: list[Message] = []
        for partition, log in enumerate(self._partitions):
            its = [c for c in channels if self._numbering.partition(c) == partition]
            if its:
                behind = self._line.position_in(partition, after)
                for message in await log.read(its, behind, limit):
                    message = replace(message)
                    self._numbering.label(message, partition)
                    message.position = self._line.find(partition, message.position)
                    found.append(message)
        return sorted(found, key=lambda message: message.position)[:limit]

    async def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """See Log; one follower at a time, whose line this is. `after` is 0."""
        assert after == 0, "this node's positions are made by following"
        while True:
            merged = _Merged(self._partitions)
            try:
                lives = await merged.lives()
                if lives is None:
                    return
                lost = [life.lost_through for life in lives]
                self._line.begin(lost, [max(life.lost_through, *life.marks.values(), 0) for life in lives])
                self._numbering.lives = lives
                epoch = joined([life.epoch for life in lives])
                # Everything before is known by partition: see PartitionedNumbering.locate.
                yield Life(epoch)
                async for partition, batch in merged.rest():
                    if isinstance(batch, Life):
                        break  # another life of one: all are begun again
                    yield self._lined_up(partition, batch)
                else:
                    return
            finally:
                await merged.close()

    def _lined_up(self, partition: int, batch: Sequence[Message] | Hole) -> Batch:
        if isinstance(batch, Hole):
            return Hole(self._line.add(partition, batch.through), batch.ours, partition)
        lined_up = []
        for message in batch:
            # Another follower of the same partition may be handed the same objects.
            lined = replace(message)
            self._numbering.label(lined, partition)
            lined.position = self._line.add(partition, message.position)
            lined_up.append(lined)
        return lined_up

    async def close(self) -> None:
        """See Log."""
        await asyncio.gather(*(log.close() for log in self._partitions))


class _Merged:
    """What the followers of all partitions bring, as it comes. A task for each reads ahead a little."""

    def __init__(self, partitions: Sequence[Log]) -> None:
        self._queue: asyncio.Queue[tuple[int, Batch | Exception | None]] = asyncio.Queue(
            _AHEAD * len(partitions)
        )
        self._count = len(partitions)
        self._early: list[tuple[int, Batch]] = []
        self._tasks = [asyncio.create_task(self._read(p, log)) for p, log in enumerate(partitions)]

    async def _read(self, partition: int, log: Log) -> None:
        end: Exception | None = None
        try:
            async with aclosing(log.follow()) as batches:  # type: ignore[type-var]  # by the port's promise
                async for batch in batches:
                    await self._queue.put((partition, batch))
        except Exception as error:
            end = error  # raised to who reads
        await self._queue.put((partition, end))

    async def _next(self) -> tuple[int, Batch] | None:
        """Return what comes next, or None when a partition has ended. A reader's failure is raised."""
        partition, batch = await self._queue.get()
        if isinstance(batch, Exception):
            raise batch
        return None if batch is None else (partition, batch)

    async def lives(self) -> list[Life] | None:
        """Return the life that each partition is in; None when one has ended."""
        lives: dict[int, Life] = {}
        while len(lives) < self._count:
            found = await self._next()
            if found is None:
                return None
            partition, batch = found
            if isinstance(batch, Life):
                if partition in lives:
                    self._early = [(p, b) for p, b in self._early if p != partition]
                lives[partition] = batch
            else:
                self._early.append((partition, batch))
        return [lives[partition] for partition in range(self._count)]

    async def rest(self) -> AsyncIterator[tuple[int, Batch]]:
        while self._early:
            yield self._early.pop(0)
        while (found := await self._next()) is not None:
            yield found

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _all(asked: "Sequence[Future[None]]") -> None:
    await asyncio.gather(*asked)
