"""The log in Redis, when its data is emptied, replaced, or put back to an earlier state."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.redis import RedisServer
from logs.ear import Ear, agree
from logs.on_redis import RULES, all_hear, draft, nodes, numbers, opened
from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.message import Hole, Life
from tidings.logs.redis import tail

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "redis").start()
    yield made
    made.kill()


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No follower looks how the log stands because it has heard nothing for a second."""
    monkeypatch.setattr(limits, "LOG_PULSE", 100.0)
    monkeypatch.setattr(tail, "_SILENT", 110.0)


async def test_scripts_that_redis_forgets_are_sent_again_in_order(server: RedisServer) -> None:
    async with nodes(server, 1) as ([log], ears):
        await log.append([draft(0)])
        for turn in range(5):
            server.call("SCRIPT", "FLUSH")
            futures = []
            for n in range(20):
                futures.append(log.append([draft(turn * 20 + n + 1)]))
                await asyncio.sleep(0)
            await asyncio.gather(*futures)
        await all_hear(ears, numbers(*range(101)))
        assert len(ears[0].lives) == 1


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "DEL {tidings}:meta", "DEL {tidings}:log"])
async def test_an_emptied_redis_is_another_life_for_all(server: RedisServer, command: str) -> None:
    async with nodes(server, 3) as (logs, ears):
        await logs[0].append([draft(n, key=f"k{n}") for n in range(5)])
        await all_hear(ears, numbers(*range(5)))
        server.call(*command.split())
        receipts = [(await log.append([draft(n + 10)]))[0] for n, log in enumerate(logs)]
        kept = range(5) if command.endswith("meta") else ()
        await all_hear(ears, numbers(*kept, 10, 11, 12))
        epochs = (
            {r.cursor.epoch for r in receipts}
            | {log.epoch for log in logs}
            | {e.lives[-1].epoch for e in ears}
        )
        assert len(epochs) == 1
        assert epochs != {ears[0].lives[0].epoch}
        assert {len(ear.lives) for ear in ears} == {2}
        # The keys of messages that are gone are gone with them.
        assert not (await logs[1].append([draft(0, key="k0")]))[0].duplicate


async def test_followers_find_out_by_themselves_that_redis_was_emptied(server: RedisServer) -> None:
    async with nodes(server, 2) as (logs, ears):
        await logs[0].append([draft(1)])
        await all_hear(ears, numbers(1))
        server.call("FLUSHALL")
        for ear in ears:
            await ear.until(lambda ear: len(ear.lives) == 2, "it is told of the new life", patience=4)
        assert len({log.epoch for log in logs} | {ear.lives[-1].epoch for ear in ears}) == 1


async def test_who_follows_from_the_future_gets_what_comes_and_ends_no_life(server: RedisServer) -> None:
    async with opened(server.url()) as log:
        await log.append([draft(0)])
        batches = log.follow(1_000)
        first = await anext(batches)
        assert isinstance(first, Life)
        for n in range(1, 4):
            coming = asyncio.ensure_future(anext(batches))
            await log.append([draft(n)])
            batch = await coming
            assert not isinstance(batch, Life | Hole)
            assert [message.data for message in batch] == numbers(n)
        assert log.epoch == first.epoch
        assert await log.read(["a"], 1_000, 10) == []
        await batches.aclose()  # type: ignore[attr-defined]  # an async generator, by the port's promise


async def test_a_node_that_publishes_into_another_life_follows_it_at_once(
    server: RedisServer, unasked: None
) -> None:
    async with nodes(server, 1) as ([log], ears):
        for n in range(5):
            await log.append([draft(n)])
            await ears[0].until(lambda ear, n=n: ear.data == numbers(n), "it follows")  # type: ignore[misc]
            server.call("FLUSHALL")


async def test_a_stream_that_grew_again_past_a_follower_is_not_taken_for_its_own(server: RedisServer) -> None:
    async with nodes(server, 2) as (logs, ears):
        await logs[0].append([draft(n) for n in range(3)])
        await all_hear(ears, numbers(0, 1, 2))
        for turn in range(10):
            server.call("FLUSHALL")
            await logs[turn % 2].append([draft(turn * 10 + n) for n in range(7)])
            await logs[turn % 2].append([draft(turn * 10 + 9)])
        await all_hear(ears, numbers(*range(90, 97), 99))


async def test_an_old_state_that_is_put_back_is_another_life(server: RedisServer) -> None:
    """As after a failover that lost its tail: the same life, but its head has gone back."""
    async with nodes(server, 2) as (logs, ears):
        await logs[0].append([draft(1), draft(2)])
        old = {key: server.call("DUMP", key) for key in ("{tidings}:meta", "{tidings}:log")}
        await logs[0].append([draft(3, key="k")])
        await all_hear(ears, numbers(1, 2, 3))
        for key, dump in old.items():
            server.call("RESTORE", key, 0, dump, "REPLACE")
        again = await logs[1].append([draft(4)])
        assert again[0].cursor.epoch != ears[0].lives[0].epoch
        await all_hear(ears, numbers(1, 2, 4))
        assert len({log.epoch for log in logs}) == 1


async def test_followers_that_wait_find_out_that_an_old_state_was_put_back(
    server: RedisServer, unasked: None
) -> None:
    async with nodes(server, 2) as (logs, ears):
        await logs[0].append([draft(1), draft(2)])
        old = {key: server.call("DUMP", key) for key in ("{tidings}:meta", "{tidings}:log")}
        await logs[0].append([draft(3)])
        await all_hear(ears, numbers(1, 2, 3))
        for key, dump in old.items():
            server.call("RESTORE", key, 0, dump, "REPLACE")
        # Some program without memory appends: a node that was started just now.
        async with opened(server.url()) as fresh:
            before = fresh.epoch
            await fresh.append([draft(4), draft(5)])
        for ear in ears:
            await ear.until(lambda ear: len(ear.lives) == 2, "it is told of another life")
            assert ear.lives[-1].epoch != before


async def test_a_follower_that_was_away_for_too_long_is_told_what_it_missed(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "tidings", *RULES.split(), ">right")
    small = Retention(bytes=20_000)
    async with (
        opened(server.url(user="tidings:right@"), small) as slow,
        opened(server.url(), small) as log,
        Ear(slow) as ear,
        Ear(log) as other,
    ):
        await log.append([draft(0)])
        await ear.until(lambda ear: ear.data == [b"0"], "it hears the first")
        # It is kept off while the log goes on, and what it should come back to is dropped.
        server.call("ACL", "SETUSER", "tidings", "-@all", "+info")
        server.call("CLIENT", "KILL", "USER", "tidings")
        for n in range(1, 100):
            await log.append([draft(n)])
        server.call("ACL", "SETUSER", "tidings", *RULES.split())
        await ear.until(lambda ear: ear.data[-1:] == [b"99"], "it hears the last")
        await other.until(lambda ear: ear.data[-1:] == [b"99"], "it hears the last")
        holes = [told for told in ear.told if isinstance(told, Hole)]
        assert len(holes) == 1
        assert ear.now[1].position == holes[0].through + 1 > 50
        assert len(ear.lives) == 1
        agree([ear, other])
