"""What the tests of the log in a file share: opening one, and a clock that is set."""

from collections.abc import Callable
from pathlib import Path

from logs.test_logs import Tail
from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.message import Life, Message
from tidings.logs.sqlite import SqliteLog

CHANNELS = "abcdefgh"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def opened(
    path: Path,
    retention: Retention | None = None,
    *,
    durability: str = "synced",
    clock: Callable[[], float] | None = None,
    keys: int = limits.IDEMPOTENCY_KEYS,
) -> SqliteLog:
    url = f"sqlite:///{path}?durability={durability}"
    log = (
        SqliteLog(url, retention, idempotency_keys=keys)
        if clock is None
        else SqliteLog(url, retention, clock=clock, idempotency_keys=keys)
    )
    await log.open()
    return log


async def state(log: SqliteLog) -> tuple[Life, list[Message]]:
    """Return what a new follower is told first, and what is kept of the channels a to h."""
    tail = Tail(log)
    life = await tail.life()
    await tail.close()
    return life, await log.read(CHANNELS, 0, 1_000_000)
