"""One suite over every log: what the port promises (src/tidings/logs/base.py)."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from logs.homes import Home
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Hole, Life, Message
from tidings.logs import Log, open_log
from tidings.logs.base import Batch
from tidings.logs.memory import MemoryLog


def draft(data: int, channel: str = "a", key: str | None = None) -> Draft:
    return Draft(channel, str(data).encode(), idempotency_key=key)


class Tail:
    """A follower that is read in a test."""

    def __init__(self, log: Log, after: int = 0) -> None:
        self._batches: AsyncIterator[Batch] = log.follow(after)
        self.messages: list[Message] = []
        self.told: list[Life | Hole] = []

    async def step(self) -> None:
        """Take the next batch."""
        async with asyncio.timeout(20):
            batch = await anext(self._batches)
        if isinstance(batch, Life | Hole):
            self.told.append(batch)
        else:
            assert batch, "a batch has at least one message"
            self.messages += batch

    async def life(self) -> Life:
        """Take the life that comes first."""
        await self.step()
        assert len(self.told) == 1
        told = self.told[0]
        assert isinstance(told, Life)
        return told

    async def take(self, count: int) -> list[Message]:
        """Take the next `count` messages."""
        while len(self.messages) < count:
            await self.step()
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    async def close(self) -> None:
        """Follow no more."""
        await self._batches.aclose()  # type: ignore[attr-defined]  # an async generator, by the port's promise


async def data_of(log: Log, *channels: str, after: int = 0, limit: int = 1_000) -> list[bytes]:
    return [m.data for m in await log.read(channels, after, limit)]


async def until(condition: str, check: object) -> None:
    """Wait until the awaitable that `check` makes is true."""
    deadline = time.monotonic() + 20
    while not await check():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"it never came about that {condition}"
        await asyncio.sleep(0.02)


# --- numbering ------------------------------------------------------------------------------------


async def test_positions_rise_by_one_order_over_all_channels(log: Log) -> None:
    receipts = await log.append([draft(1, "a"), draft(2, "b")])
    receipts += await log.append([draft(3, "a")])
    positions = [r.cursor.position for r in receipts]
    assert positions == sorted(set(positions))
    assert positions[0] >= 1
    assert {r.cursor.epoch for r in receipts} == {log.epoch}
    assert log.head == positions[-1]


async def test_an_empty_batch_is_answered_with_nothing(log: Log) -> None:
    assert await log.append([]) == []


async def test_appends_that_are_not_awaited_keep_their_order(log: Log) -> None:
    futures = [log.append([draft(n), draft(n + 1000, "b")]) for n in range(200)]
    receipts = [receipt for future in futures for receipt in await future]
    positions = [r.cursor.position for r in receipts]
    assert positions == sorted(set(positions))
    assert await data_of(log, "a") == [b"%d" % n for n in range(200)]


async def test_what_was_appended_is_read_back_byte_for_byte(log: Log) -> None:
    odd = '{"x": 1.50, "é": "\U0001f600\\u0000",\n"x": [ ]}'.encode()
    await log.append([Draft("a.b~c:d-e_F", odd, event="e", key='k"\\'), draft(2, "b"), draft(3, "a")])
    kept = await log.read(["a.b~c:d-e_F", "a"], 0, 10)
    assert [(m.channel, m.data, m.event, m.key) for m in kept] == [
        ("a.b~c:d-e_F", odd, "e", 'k"\\'),
        ("a", b"3", None, None),
    ]
    assert await data_of(log, "a", "b", after=kept[0].position, limit=1) == [b"2"]
    assert all(abs(m.time_ms - time.time() * 1000) < 60_000 for m in kept)


@pytest.mark.parametrize("channel", [".", "..", "a..b", ".a.", "~", "x" * 200, "A-a_0:9~."])
async def test_every_channel_name_is_kept_apart(log: Log, channel: str) -> None:
    await log.append(
        [draft(1, channel), draft(2, "other"), draft(3, channel + "y" if channel != "x" * 200 else "z")]
    )
    assert await data_of(log, channel) == [b"1"]


async def test_cancelling_an_append_undoes_nothing_and_harms_nobody(log: Log) -> None:
    cancelled = log.append([draft(1)])
    other = log.append([draft(2)])
    cancelled.cancel()
    assert len(await other) == 1
    assert (await log.append([draft(3)]))[0].cursor.position == log.head
    kept = await data_of(log, "a")
    assert kept[-2:] == [b"2", b"3"]


async def test_times_never_go_back(log: Log) -> None:
    for n in range(50):
        await log.append([draft(n)])
    times = [m.time_ms for m in await log.read(["a"], 0, 100)]
    assert times == sorted(times)


# --- following ------------------------------------------------------------------------------------


async def test_a_follower_gets_everything_once_and_in_order(log: Log) -> None:
    first = (await log.append([draft(0), draft(1)]))[0].cursor.position
    early, late = Tail(log), Tail(log, first)
    assert (await early.life()).epoch == log.epoch
    assert (await late.life()).epoch == log.epoch
    assert [m.data for m in await early.take(2)] == [b"0", b"1"]
    assert [m.data for m in await late.take(1)] == [b"1"]
    waiting = asyncio.ensure_future(early.take(98))
    await asyncio.sleep(0)
    for n in range(2, 100):
        await log.append([draft(n, f"c{n % 7}")])
    messages = await waiting
    assert [m.data for m in messages] == [b"%d" % n for n in range(2, 100)]
    assert [m.position for m in messages] == sorted({m.position for m in messages})
    assert {m.epoch for m in messages} == {log.epoch}
    assert [m.data for m in await late.take(98)] == [b"%d" % n for n in range(2, 100)]
    await early.close()
    await late.close()


async def test_a_fresh_log_has_lost_nothing(log: Log) -> None:
    tail = Tail(log)
    life = await tail.life()
    assert life.lost_through == 0
    assert not any(life.marks.values())
    await tail.close()


async def test_what_retention_dropped_is_counted_as_lost(home: Home) -> None:
    log = await home.open(Retention(count=5))
    receipts = [(await log.append([draft(n)]))[0] for n in range(40)]
    tail = Tail(log)
    life = await tail.life()
    lost = life.marks.get("a", life.lost_through)
    kept = [m.position for m in await tail.take(sum(r.cursor.position > lost for r in receipts))]
    # A message is either kept or known to be gone.
    assert kept == [r.cursor.position for r in receipts if r.cursor.position > lost]
    assert len(kept) >= 5
    await tail.close()
    await log.close()


async def test_a_batch_is_bounded(log: Log) -> None:
    big = b'"' + b"x" * 60_000 + b'"'
    for _ in range(20):
        await log.append([Draft("a", big)] * 5)
    tail = Tail(log)
    await tail.life()
    seen = 0
    while seen < 100:
        before = len(tail.messages)
        await tail.step()
        seen = len(tail.messages)
        assert seen - before < 50
    await tail.close()


async def test_closing_ends_the_followers(log: Log) -> None:
    tail = Tail(log)
    await tail.life()
    waiting = asyncio.ensure_future(tail.step())
    await asyncio.sleep(0)
    await log.close()
    with pytest.raises(StopAsyncIteration):
        async with asyncio.timeout(10):
            await waiting


async def test_a_follower_that_is_cancelled_takes_nothing_with_it(log: Log) -> None:
    tail, other = Tail(log), Tail(log)
    await tail.life()
    await other.life()
    waiting = asyncio.ensure_future(tail.step())
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await log.append([draft(1)])
    assert [m.data for m in await other.take(1)] == [b"1"]
    await other.close()


async def test_closing_twice_is_harmless(log: Log) -> None:
    await log.append([draft(1)])
    await log.close()
    await log.close()


# --- idempotency ----------------------------------------------------------------------------------


async def test_the_same_key_on_the_same_channel_is_one_message(log: Log) -> None:
    first = (await log.append([draft(1, key="k")]))[0]
    again = (await log.append([draft(2, key="k")]))[0]
    other = (await log.append([draft(3, "b", key="k")]))[0]
    assert not first.duplicate
    assert again.duplicate
    assert again.cursor == first.cursor
    assert not other.duplicate
    assert await data_of(log, "a", "b") == [b"1", b"3"]


async def test_a_key_twice_in_one_batch_is_one_message(log: Log) -> None:
    first, again, other = await log.append([draft(1, key="k"), draft(2, key="k"), draft(3)])
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert again.cursor == first.cursor
    assert await data_of(log, "a") == [b"1", b"3"]


async def test_keys_are_not_joined_with_channels(log: Log) -> None:
    receipts = await log.append(
        [draft(1, "a", "b:c"), draft(2, "a:b", "c"), draft(3, "a.b", "c"), draft(4, "a", "b.c")]
    )
    assert not any(r.duplicate for r in receipts)


# --- several at one place ---------------------------------------------------------------------------


async def test_two_that_share_a_log_see_one_order(home: Home) -> None:
    if not home.shared:
        pytest.skip("such a log belongs to one process")
    one, two = await home.open(), await home.open()
    tails = [Tail(one), Tail(two)]
    for tail in tails:
        await tail.life()

    async def publish(log: Log, name: str) -> None:
        for n in range(100):
            await log.append([Draft(name, b"%d" % n)])

    await asyncio.gather(publish(one, "one"), publish(two, "two"))
    first, second = [[(m.position, m.channel, m.data) for m in await tail.take(200)] for tail in tails]
    assert first == second
    for name in ("one", "two"):
        assert [d for _, c, d in first if c == name] == [b"%d" % n for n in range(100)]
    for tail in tails:
        await tail.close()
    await one.close()
    await two.close()


async def test_a_key_holds_for_all_that_share_a_log(home: Home) -> None:
    if not home.shared:
        pytest.skip("such a log belongs to one process")
    one, two = await home.open(), await home.open()
    receipts = await asyncio.gather(*(log.append([draft(1, key="k")]) for log in (one, two) * 10))
    assert sorted(r[0].duplicate for r in receipts) == [False] + [True] * 19
    assert len({r[0].cursor for r in receipts}) == 1
    await one.close()
    await two.close()


async def test_refreshing_finds_out_how_far_the_others_are(home: Home) -> None:
    if not home.shared:
        pytest.skip("such a log belongs to one process")
    one, two = await home.open(), await home.open()
    position = (await one.append([draft(1)]))[0].cursor.position
    asked = two.refresh()
    assert asked is not None
    await asked
    assert (two.epoch, two.head) == (one.epoch, position)
    await one.close()
    await two.close()


async def test_a_log_that_lasts_goes_on_where_it_was(home: Home) -> None:
    if not home.lasting:
        pytest.skip("such a log is gone when it is closed")
    log = await home.open()
    receipts = await log.append([draft(1), draft(2, "b", key="k")])
    epoch = log.epoch
    await log.close()
    log = await home.open()
    tail = Tail(log)
    life = await tail.life()
    assert life.epoch == log.epoch == epoch
    assert log.head == receipts[-1].cursor.position
    assert [m.position for m in await tail.take(2)] == [r.cursor.position for r in receipts]
    again = await log.append([draft(3, "b", key="k"), draft(4)])
    assert again[0].duplicate
    assert again[0].cursor == receipts[1].cursor
    assert again[1].cursor.position > receipts[1].cursor.position
    await tail.close()
    await log.close()


# --- bounds -----------------------------------------------------------------------------------------


async def test_old_messages_are_dropped(home: Home) -> None:
    log = await home.open(Retention(age=1.0))
    await log.append([draft(1)])

    async def gone() -> bool:
        await log.append([draft(2, "b")])
        return not await log.read(["a"], 0, 10)

    await until("the message was dropped for its age", gone)
    await log.close()


async def test_it_does_not_grow_for_ever(home: Home) -> None:
    """What a log keeps is bounded, roughly, by its retention: it may drop in steps."""
    log = await home.open(Retention(count=20, bytes=2_000_000))
    for _ in range(30):
        await log.append([draft(n, f"c{n % 3}") for n in range(100)])

    async def bounded() -> bool:
        return len(await log.read(["c0", "c1", "c2"], 0, 100_000)) <= 3 * 20 * 2

    async def bounded_in_bytes() -> bool:
        return len(await log.read(["big"], 0, 100_000)) * 60_000 <= 4_000_000

    if getattr(home, "counts_channels", True):
        await until("it keeps about what it is to keep of each channel", bounded)
    big = b'"' + b"x" * 60_000 + b'"'
    for _ in range(30):
        await log.append([Draft("big", big)] * 5)
    await until("it keeps about as many bytes as it is to keep", bounded_in_bytes)
    await log.close()


async def test_random_batches_with_random_keys_agree_with_a_list(log: Log) -> None:
    chance = random.Random(17)
    seen: dict[tuple[str, str], int] = {}
    expected: list[tuple[str, bytes]] = []
    for n in range(60):
        drafts = [
            Draft(
                chance.choice("abc"),
                b"%d" % (n * 10 + m),
                idempotency_key=chance.choice([None, "k1", "k2", f"n{n}"]),
            )
            for m in range(chance.randint(1, 5))
        ]
        for item, receipt in zip(drafts, await log.append(drafts), strict=True):
            key = None if item.idempotency_key is None else (item.channel, item.idempotency_key)
            if key is not None and key in seen:
                assert receipt.duplicate
                assert receipt.cursor.position == seen[key]
                continue
            assert not receipt.duplicate
            expected.append((item.channel, item.data))
            if key is not None:
                seen[key] = receipt.cursor.position
    tail = Tail(log)
    await tail.life()
    assert [(m.channel, m.data) for m in await tail.take(len(expected))] == expected
    await tail.close()


# --- the log in memory ------------------------------------------------------------------------------


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
    assert await data_of(log, "a") == [b"15", b"16", b"17", b"18", b"19"]


def test_an_unknown_kind_of_log_is_said_so() -> None:
    with pytest.raises(SettingsError, match="no log of the kind 'carrier-pigeon'"):
        open_log("carrier-pigeon://loft")
