"""The log in Redis, when Redis stops, dies and comes back, and when more waits than may."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.redis import RedisServer
from logs.ear import Ear
from logs.following import until
from logs.on_redis import RULES, all_hear, draft, nodes, numbers, opened, published
from logs.stopwatch import Stopwatch
from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Durability
from tidings.logs import open_log


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "redis").start()
    yield made
    made.kill()


@pytest.mark.slow
async def test_a_frozen_redis_refuses_in_time_and_all_goes_on_by_itself(server: RedisServer) -> None:
    async with nodes(server, 2) as (logs, ears):
        loop = asyncio.get_running_loop()
        heard = loop.time()
        await logs[0].append([draft(0, key="k0")])
        await all_hear(ears, numbers(0))
        server.freeze()
        waiting = [log.append([draft(n + 1, key=f"k{n + 1}")]) for n, log in enumerate(logs)]
        asked = logs[0].refresh()
        assert asked is not None
        with Stopwatch() as watch:
            found = await asyncio.gather(*waiting, asked, return_exceptions=True)
        assert watch.seconds < limits.LOG_TIMEOUT + 1
        assert all(isinstance(f, Refusal) and f.kind.code == "log_unavailable" for f in found)
        for _ in range(100):
            at_once = logs[0].append([draft(9)])
            assert at_once.done(), "it is known to be away"
            with pytest.raises(Refusal):
                await at_once
        await until("the log is said to be away", lambda: all(log.away_since is not None for log in logs), 5)
        assert all(heard < (log.away_since or 0) < loop.time() for log in logs)
        await asyncio.sleep(3)  # as long as it takes to fail to connect, too
        server.thaw()
        for n, log in enumerate(logs):
            await published(log, draft(n + 1, key=f"k{n + 1}"))
        await published(logs[0], draft(3, key="k3"))
        for ear in ears:
            await ear.until(lambda ear: b"3" in ear.data, "it hears the last")
            assert sorted(ear.data) == numbers(0, 1, 2, 3), "nothing is lost, and nothing comes twice"
            assert len(ear.lives) == 1
        await until("it is heard again", lambda: all(log.away_since is None for log in logs))


async def test_a_killed_redis_goes_on_from_its_file_in_the_same_life(server: RedisServer) -> None:
    async with nodes(server, 2) as (logs, ears):
        receipts = await logs[0].append([draft(n, key=f"k{n}") for n in range(10)])
        assert {r.durability for r in receipts} == {Durability.STORED}
        server.kill()
        with pytest.raises(Refusal, match="idempotency key"):
            await logs[0].append([draft(99)])
        server.start()
        again = await published(logs[1], draft(5, key="k5"), draft(10))
        assert again[0].duplicate
        assert again[0].cursor == receipts[5].cursor
        await all_hear(ears, numbers(*range(11)))
        assert {len(ear.lives) for ear in ears} == {1}


async def test_a_redis_that_comes_back_empty_is_another_life(server: RedisServer) -> None:
    async with nodes(server, 2) as (logs, ears):
        await logs[0].append([draft(1)])
        await all_hear(ears, numbers(1))
        server.kill()
        server.empty()
        server.start()
        await published(logs[1], draft(2))
        await all_hear(ears, numbers(2))
        assert {len(ear.lives) for ear in ears} == {2}


async def test_a_redis_without_a_file_of_its_own_begins_another_life(tmp_path: Path) -> None:
    """Its snapshot may lack what somebody was told, and who knows of it may not be there to say so."""
    server = RedisServer(tmp_path / "redis", appendonly=False).start()
    try:
        async with nodes(server, 2) as (logs, ears):
            receipts = await logs[0].append([draft(1)])
            assert receipts[0].durability is Durability.MEMORY
            await all_hear(ears, numbers(1))
            server.call("SAVE")
            server.kill()
            server.start()
            for ear in ears:
                await ear.until(lambda ear: len(ear.lives) == 2 and ear.data == numbers(1), "it begins again")
            # Where nothing has been appended in it, a life is no less whole.
            server.call("CLIENT", "KILL", "TYPE", "normal")
            await published(logs[1], draft(2, key="k"))
            await all_hear(ears, numbers(1, 2))
            assert {len(ear.lives) for ear in ears} == {2}
    finally:
        server.kill()


async def test_synced_is_said_where_each_append_is_synced(server: RedisServer) -> None:
    server.call("CONFIG", "SET", "appendfsync", "always")
    async with opened(server.url()) as log:
        assert (await log.append([draft(1)]))[0].durability is Durability.SYNCED


async def test_connections_are_given_back(server: RedisServer) -> None:
    for _ in range(3):
        async with opened(server.url()) as log:
            for _ in range(3):
                async with Ear(log):
                    await log.append([draft(1)])
                    await log.read(["a"], 0, 10)
    server.until(lambda _: server.clients() == 0, "PING")


async def test_connections_that_are_cut_are_made_again(server: RedisServer) -> None:
    async with nodes(server, 2) as (logs, ears):
        for n in range(20):
            await published(logs[n % 2], draft(n, key=f"k{n}"))
            server.call("CLIENT", "KILL", "TYPE", "normal")
        await all_hear(ears, numbers(*range(20)))
        assert {len(ear.lives) for ear in ears} == {1}


async def test_more_than_may_wait_is_refused_at_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_TIMEOUT", 60.0)  # not what this is about
    async with opened(server.url()) as log:
        server.freeze()
        batch = [draft(n) for n in range(100)]
        waiting = [log.append(batch) for _ in range(limits.LOG_PENDING // 100)]
        with pytest.raises(Refusal, match="Too many"):
            await log.append([draft(1)])
        server.thaw()
        receipts = await asyncio.gather(*waiting)
        assert sum(len(each) for each in receipts) == limits.LOG_PENDING
        assert len(await log.append([draft(1)])) == 1


async def test_what_waits_is_answered_before_a_log_is_closed(server: RedisServer) -> None:
    log = open_log(server.url())
    await log.open()
    waiting = [log.append([draft(n)]) for n in range(50)]
    waiting[3].cancel()
    await asyncio.gather(log.close(), log.close())
    assert all(future.done() for future in waiting)
    assert [f.result()[0].cursor.position for n, f in enumerate(waiting) if n != 3][-1] == 50
    with pytest.raises(Refusal, match="closed"):
        await log.append([draft(1)])


async def test_a_log_is_closed_though_redis_does_not_answer(server: RedisServer) -> None:
    log = open_log(server.url())
    await log.open()
    async with Ear(log):
        server.freeze()
        waiting = log.append([draft(1)])
        with Stopwatch() as watch:
            await log.close()
        assert watch.seconds < limits.LOG_TIMEOUT + 1
        with pytest.raises(Refusal):
            await waiting


async def test_those_who_ask_at_once_share_an_answer(server: RedisServer) -> None:
    async with opened(server.url()) as log, opened(server.url()) as other:
        await other.append([draft(1)])
        calls = int(server.call("INFO", "commandstats").split(b"cmdstat_evalsha:calls=")[1].split(b",")[0])
        asked = [log.refresh() for _ in range(100)]
        first = asked[0]
        assert first is not None
        first.cancel()
        await asyncio.gather(*(a for a in asked[1:] if a is not None))
        assert log.head == 1
        again = int(server.call("INFO", "commandstats").split(b"cmdstat_evalsha:calls=")[1].split(b",")[0])
        assert again - calls == 1


async def test_a_follower_that_may_not_wait_does_not_ask_without_end(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.call("ACL", "SETUSER", "tidings", *RULES.split(), "-xread", ">right")
    async with opened(server.url(user="tidings:right@")) as log, Ear(log) as ear:
        before = server.call("INFO", "stats")
        await until("it is said", lambda: any("cannot be followed" in r.message for r in caplog.records))
        await asyncio.sleep(1)
        after = server.call("INFO", "stats")

        def connections(stats: bytes) -> int:
            return int(stats.split(b"total_connections_received:")[1].split()[0])

        assert connections(after) - connections(before) < 12
        assert len([r for r in caplog.records if "cannot be followed: NOPERM" in r.message]) == 1
        server.call("ACL", "SETUSER", "tidings", "+xread")
        await log.append([draft(1)])
        await all_hear([ear], numbers(1))
