"""A follower that runs by itself in a test, and what it was told."""

import asyncio
import contextlib
from collections.abc import Callable

from logs.stopwatch import Stopwatch
from tidings.core.message import Hole, Life, Message
from tidings.logs import Log


class Watch:
    """Follows a log until it is closed. `told` holds all of it in order."""

    def __init__(self, log: Log) -> None:
        self.told: list[Life | Hole | Message] = []
        self._task = asyncio.ensure_future(self._follow(log))

    async def _follow(self, log: Log) -> None:
        async for batch in log.follow():
            if isinstance(batch, Life | Hole):
                self.told.append(batch)
            else:
                self.told.extend(batch)

    @property
    def lives(self) -> list[Life]:
        return [told for told in self.told if isinstance(told, Life)]

    @property
    def holes(self) -> list[Hole]:
        return [told for told in self.told if isinstance(told, Hole)]

    @property
    def messages(self) -> list[Message]:
        return [told for told in self.told if isinstance(told, Message)]

    def data(self, epoch: str | None = None) -> list[bytes]:
        return [m.data for m in self.messages if epoch in (None, m.epoch)]

    async def until(self, what: str, check: Callable[["Watch"], bool], seconds: float = 30) -> None:
        """Wait until `check` is true of this watch."""
        await until(f"a follower was told {what}", lambda: check(self) or self._task.done(), seconds)
        if self._task.done():
            await self._task
        assert check(self)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def until(what: str, check: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until `check` is true."""
    with Stopwatch() as watch:
        while not check():
            assert watch.seconds < seconds, f"it never came about that {what}"
            await asyncio.sleep(0.01)


def consistent(*watches: Watch) -> None:
    """One message per epoch and position over all watches, each in order and without repeats."""
    kept: dict[tuple[str, int], tuple[str, bytes]] = {}
    for watch in watches:
        epoch, position = "", 0
        for told in watch.told:
            if isinstance(told, Life):
                assert told.epoch != epoch, "the same life is told once"
                epoch, position = told.epoch, 0
            elif isinstance(told, Hole):
                position = max(position, told.through)
            else:
                assert told.epoch == epoch
                assert told.position > position, "positions rise"
                position = told.position
                what = (told.channel, told.data)
                assert kept.setdefault((epoch, position), what) == what, "two messages under one position"
