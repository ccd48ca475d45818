"""One suite over every log: what the port promises."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Message
from tidings.logs import Log, open_log
from tidings.logs.memory import MemoryLog

LOGS: dict[str, Callable[[], Log]] = {"memory": lambda: open_log("memory://")}


@pytest.fixture(params=LOGS)
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    opened = LOGS[request.param]()
    yield opened
    await opened.close()


def draft(data: int, channel: str = "a", key: str | None = None) -> Draft:
    return Draft(channel, str(data).encode(), idempotency_key=key)


async def take(tail: AsyncIterator[list[Message]], count: int) -> list[Message]:
    messages: list[Message] = []
    async with asyncio.timeout(10):
        while len(messages) < count:
            messages += await anext(tail)
    return messages


async def test_positions_rise_by_one_order_over_all_channels(log: Log) -> None:
    receipts = await log.append([draft(1, "a"), draft(2, "b")])
    receipts += await log.append([draft(3, "a")])
    positions = [r.cursor.position for r in receipts]
    assert positions == sorted(set(positions))
    assert positions[0] >= 1
    assert {r.cursor.epoch for r in receipts} == {log.epoch}
    assert log.head == positions[-1]


async def test_what_was_appended_is_read_back(log: Log) -> None:
    await log.append([Draft("a", b'{"x": 1}', event="e", key="k"), draft(2, "b"), draft(3, "a")])
    kept = await log.read(["a"], 0, 10)
    assert [(m.channel, m.data, m.event, m.key) for m in kept] == [
        ("a", b'{"x": 1}', "e", "k"),
        ("a", b"3", None, None),
    ]
    assert [m.data for m in await log.read(["a", "b"], kept[0].position, 1)] == [b"2"]


async def test_a_follower_gets_everything_once_and_in_order(log: Log) -> None:
    first = (await log.append([draft(0), draft(1)]))[0].cursor.position
    early, late = log.follow(0), log.follow(first)
    assert [m.data for m in await take(early, 2)] == [b"0", b"1"]
    assert [m.data for m in await take(late, 1)] == [b"1"]
    waiting = asyncio.ensure_future(anext(early))
    await asyncio.sleep(0)
    for n in range(2, 100):
        await log.append([draft(n, f"c{n % 7}")])
    messages = await waiting
    messages += await take(early, 98 - len(messages))
    assert [m.data for m in messages] == [b"%d" % n for n in range(2, 100)]
    assert [m.position for m in messages] == sorted({m.position for m in messages})
    await early.aclose()  # type: ignore[attr-defined]  # an async generator, by the port's promise
    await late.aclose()  # type: ignore[attr-defined]


async def test_the_same_key_on_the_same_channel_is_one_message(log: Log) -> None:
    first = (await log.append([draft(1, key="k")]))[0]
    again = (await log.append([draft(2, key="k")]))[0]
    other = (await log.append([draft(3, "b", key="k")]))[0]
    assert not first.duplicate
    assert again.duplicate
    assert again.cursor == first.cursor
    assert not other.duplicate
    assert [m.data for m in await log.read(["a", "b"], 0, 10)] == [b"1", b"3"]


async def test_closing_ends_the_followers(log: Log) -> None:
    tail = log.follow(0)
    waiting = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(StopAsyncIteration):
        async with asyncio.timeout(10):
            await waiting


async def test_each_start_of_the_memory_log_is_another_epoch() -> None:
    assert MemoryLog().epoch != MemoryLog().epoch


async def test_a_key_is_forgotten_after_its_time_and_beyond_the_bound() -> None:
    now = 1000.0
    log = MemoryLog(clock=lambda: now, idempotency_age=600, idempotency_keys=3)
    await log.append([draft(1, key="k")])
    now += 599
    assert (await log.append([draft(1, key="k")]))[0].duplicate
    now += 1
    assert not (await log.append([draft(1, key="k")]))[0].duplicate
    await log.append([draft(n, key=f"k{n}") for n in range(10)])
    assert not (await log.append([draft(1, key="k")]))[0].duplicate
    assert len(log._seen) <= 3


async def test_times_never_go_back_with_the_clock() -> None:
    now = 1000.0
    log = MemoryLog(clock=lambda: now)
    await log.append([draft(1)])
    now = 500.0
    await log.append([draft(2)])
    times = [m.time_ms for m in await log.read(["a"], 0, 10)]
    assert times == sorted(times)


async def test_the_memory_log_keeps_no_more_than_its_retention() -> None:
    log = MemoryLog(Retention(count=5))
    await log.append([draft(n) for n in range(20)])
    assert [m.data for m in await log.read(["a"], 0, 100)] == [b"15", b"16", b"17", b"18", b"19"]


def test_an_unknown_kind_of_log_is_said_so() -> None:
    with pytest.raises(SettingsError, match="no log of the kind 'carrier-pigeon'"):
        open_log("carrier-pigeon://loft")
