"""What the tests of the log in Redis do to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from engines.redis import RedisServer
from logs.ear import Ear, agree
from tidings.core.errors import Refusal
from tidings.core.history import Retention
from tidings.core.message import Draft, Receipt
from tidings.logs import Log
from tidings.logs.redis import RedisLog

RULES = (
    "on ~{tidings}:* resetchannels -@all +info +config|get +select +eval +evalsha +xread +hmget +hset +hget"
    " +hlen +xadd +xrange +xrevrange +xlen +xtrim +exists +unlink +rename +time"
)


def draft(data: int, channel: str = "a", key: str | None = None) -> Draft:
    return Draft(channel, b"%d" % data, idempotency_key=key)


@asynccontextmanager
async def opened(
    url: str, retention: Retention | None = None, partition: int | None = None
) -> AsyncIterator[Log]:
    log = RedisLog(url, retention, partition=partition)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def published(log: Log, *drafts: Draft, patience: float = 20) -> list[Receipt]:
    """Append until it is acknowledged, as a publisher with idempotency keys does."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return await log.append(drafts)
        except Refusal:
            assert time.monotonic() < deadline, "it is never acknowledged"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def nodes(server: RedisServer, count: int) -> AsyncIterator[tuple[list[Log], list[Ear]]]:
    """Several nodes at one log, and one follower of each."""
    async with AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(opened(server.url())) for _ in range(count)]
        ears = [await stack.enter_async_context(Ear(log)) for log in logs]
        yield logs, ears
        agree(ears)


async def all_hear(ears: list[Ear], data: list[bytes]) -> None:
    for ear in ears:
        await ear.until(lambda ear: ear.data == data, f"{data[-3:]} is all that this life has")


def numbers(*data: int) -> list[bytes]:
    return [b"%d" % n for n in data]
