"""Who follows a log in a test and remembers all it was told, and what must hold of that."""

import asyncio
import contextlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Self

from logs.stopwatch import Stopwatch
from tidings.core.message import Hole, Life, Message
from tidings.logs import Log


class Ear:
    """Follows `log` from its first moment on. `told` is everything, in order."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.told: list[Message | Life | Hole] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for batch in self.log.follow():
            if isinstance(batch, Life | Hole):
                self.told.append(batch)
            else:
                assert batch, "a batch has at least one message"
                self.told += batch
            self._changed.set()

    async def __aenter__(self) -> Self:
        await self.until(lambda ear: ear.lives, "it is told of a life")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def lives(self) -> list[Life]:
        return [told for told in self.told if isinstance(told, Life)]

    @property
    def now(self) -> list[Message]:
        """What it was told in the newest life."""
        last = max(n for n, told in enumerate(self.told) if isinstance(told, Life))
        return [told for told in self.told[last:] if isinstance(told, Message)]

    @property
    def data(self) -> list[bytes]:
        return [message.data for message in self.now]

    async def until(self, check: Callable[["Ear"], object], what: str, patience: float = 30) -> None:
        """Wait until `check`, which looks at what was told, is true."""
        with Stopwatch() as watch:
            while not check(self):
                assert watch.seconds < patience, f"it never came about that {what}; told: {self.told[-5:]}"
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self._changed.wait()


def agree(ears: Iterable[Ear]) -> None:
    """Check that nobody was told another message under the same life and position, or anything out of order.

    And that nobody has a hole that was not told: each has, of each life, everything from its first message
    to its last that any other was told.
    """
    ears = list(ears)
    truth: dict[tuple[str, int], tuple[str, bytes]] = {}
    positions: defaultdict[str, set[int]] = defaultdict(set)
    for ear in ears:
        for told in ear.told:
            if isinstance(told, Message):
                said = (told.channel, told.data)
                assert truth.setdefault((told.epoch, told.position), said) == said, "two under one position"
                positions[told.epoch].add(told.position)
    order = {epoch: sorted(known) for epoch, known in positions.items()}
    for ear in ears:
        epoch, at = "", 0
        seen: set[str] = set()
        for told in ear.told:
            match told:
                case Life():
                    assert told.epoch not in seen, "a life that was over goes on"
                    epoch, at = told.epoch, told.lost_through
                    seen.add(epoch)
                case Hole():
                    assert told.through > at
                    at = told.through
                case Message():
                    assert told.epoch == epoch, "a message of another life"
                    assert told.position > at, "a message twice, or out of order"
                    follows = order[epoch][bisect_right(order[epoch], at)]
                    assert follows == told.position, f"a silent hole: {follows} of {epoch}"
                    at = told.position
