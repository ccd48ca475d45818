"""Following a log in NATS JetStream: what comes, what is lost and told, what others did to the stream."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.nats import NatsServer
from logs.on_nats import numbers, opened, put, raw, told_up_to, watched
from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.message import Draft, Hole, Life
from tidings.logs.base import Batch
from tidings.logs.nats import NatsLog
from tidings.logs.nats.tail import Pull

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as started:
        yield started


async def test_a_message_that_is_missed_on_the_way_is_fetched_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server.url) as log, watched(log) as watch:
        came = Pull._came
        dropped: list[Any] = []

        def lossy(pull: Pull, message: Any) -> None:
            if message.reply.split(".")[6] == "10" and not dropped:
                dropped.append(message)
            else:
                came(pull, message)

        monkeypatch.setattr(Pull, "_came", lossy)
        for n in range(50):
            await put(log, n)
        await watch.until("all", lambda w: len(w.messages) >= 50)
        assert dropped
        assert watch.data() == numbers(*range(50))
        assert not watch.holes


async def test_a_consumer_that_is_deleted_is_made_again(server: NatsServer) -> None:
    async with opened(server.url) as log, raw(server) as ask, watched(log) as watch:
        await put(log, 0)
        for name in (await ask("CONSUMER.NAMES.tidings"))["consumers"]:
            await ask(f"CONSUMER.DELETE.tidings.{name}")
        await put(log, 1)
        await watch.until("both", lambda w: w.data() == numbers(0, 1))


@pytest.mark.parametrize("size", [100, 30_000])
async def test_a_follower_that_does_not_read_holds_a_bounded_number_of_messages(
    server: NatsServer, size: int
) -> None:
    async with opened(server.url, Retention(count=100_000)) as log:
        batches = log.follow()
        await anext(batches)
        await put(log, 0)
        await anext(batches)
        big = b'"' + b"x" * size + b'"'
        for _ in range(20):
            await log.append([Draft("a", big)] * 60)
        assert isinstance(log, NatsLog)
        (pull,) = log._node.pulls
        await asyncio.sleep(0.5)  # for what should not come
        assert len(pull._arrivals) <= limits.NATS_PULL_MESSAGES
        assert sum(len(arrival.data) for arrival in pull._arrivals) <= 3 * limits.NATS_PULL_BYTES
        seen = 0
        async with asyncio.timeout(20):
            while seen < 1_200:
                batch = await anext(batches)
                assert isinstance(batch, list)
                seen += len(batch)
        await batches.aclose()  # type: ignore[attr-defined]


async def test_a_burst_on_one_channel_leaves_no_hole_for_a_follower_that_lags(server: NatsServer) -> None:
    async with opened(server.url, Retention(count=3)) as log:
        batches = log.follow()
        await anext(batches)
        for n in range(2_000):
            await put(log, n)
        seen: list[bytes] = []
        async with asyncio.timeout(20):
            while len(seen) < 2_000:
                batch = await anext(batches)
                assert not isinstance(batch, Life | Hole)
                seen += [message.data for message in batch]
        assert seen == numbers(*range(2_000))
        await batches.aclose()  # type: ignore[attr-defined]


async def test_who_was_away_too_long_is_told_of_a_hole(server: NatsServer) -> None:
    async with opened(server.url, Retention(bytes=90_000)) as log:
        batches = log.follow()
        await anext(batches)
        for n in range(2_000):
            last = await put(log, n)
            if n == 0:
                await anext(batches)
        told: list[Batch] = []
        while not told or isinstance(told[-1], Hole) or told[-1][-1].position < last.cursor.position:  # type: ignore[index]
            told.append(await anext(batches))
        assert any(isinstance(item, Hole) for item in told)
        # What was not brought was told of.
        position = 1
        for item in told:
            assert not isinstance(item, Life)
            if isinstance(item, Hole):
                assert item.through >= position
                position = item.through
            else:
                assert [m.position for m in item] == list(range(position + 1, position + 1 + len(item)))
                position = item[-1].position
        assert position == last.cursor.position
        await batches.aclose()  # type: ignore[attr-defined]


async def test_a_busy_channel_takes_nothing_from_a_quiet_one(server: NatsServer) -> None:
    async with opened(server.url, Retention(count=5)) as log:
        await put(log, 0, "quiet")
        for n in range(20):
            await put(log, n, "busy")
            await put(log, n, f"single{n}")
        async with watched(log) as watch:
            assert (watch.lives[0].lost_through, dict(watch.lives[0].marks)) == (0, {})
            await watch.until("all", lambda w: len(w.messages) == 41)
            assert not watch.holes


async def test_what_was_trimmed_for_bytes_is_told_to_be_lost(server: NatsServer) -> None:
    async with opened(server.url, Retention(bytes=400_000)) as log:
        for n in range(30):
            await log.append([Draft(f"c{n}", b'"' + b"x" * 10_000 + b'"')])
        async with watched(log) as watch:
            await watch.until("the last", lambda w: w.messages[-1:] != [] and w.messages[-1].channel == "c29")
            life = watch.lives[0]
            assert 0 < life.lost_through == watch.messages[0].position - 1
            assert [m.channel for m in watch.messages] == [f"c{n}" for n in range(life.lost_through, 30)]
            assert not watch.holes


@pytest.mark.parametrize("size", [1, 10_000])
async def test_a_node_that_starts_reads_at_most_twice_what_it_can_keep(server: NatsServer, size: int) -> None:
    retention = Retention(bytes=900_000)
    async with opened(server.url, retention) as log:
        for _ in range(40):
            last = (await log.append([Draft("a", b"1" * size)] * 50))[-1].cursor.position
        async with watched(log) as watch:
            await watch.until("the last", lambda w: told_up_to(w) == last)
            assert retention.bytes / 3 < sum(m.weight for m in watch.messages) <= 2 * retention.bytes


async def test_who_follows_behind_a_position_is_brought_what_comes_behind_it(server: NatsServer) -> None:
    async with opened(server.url) as log:
        for n in range(5):
            await put(log, n)
        for after, first in ((0, 1), (3, 4), (5, 6), (1_000, 6)):
            batches = log.follow(after)
            life = await anext(batches)
            assert isinstance(life, Life)
            assert life.lost_through == 0
            if first == 6:
                await put(log, 5)
            batch = await anext(batches)
            assert not isinstance(batch, Life | Hole)
            assert batch[0].position >= first
            assert after == 1_000 or batch[0].position == first
            await batches.aclose()  # type: ignore[attr-defined]


async def test_a_purge_in_the_middle_is_not_kept_quiet(server: NatsServer) -> None:
    async with opened(server.url) as log, raw(server) as ask:
        await put(log, 0, "first")
        for n in range(5):
            await put(log, n, "purged")
        last = await put(log, 9, "last")
        await ask("STREAM.PURGE.tidings", {"filter": f"tidings.log.{log.epoch}.purged"})
        async with watched(log) as watch:
            await watch.until("the last", lambda w: told_up_to(w) == last.cursor.position)
            assert [hole.through for hole in watch.holes] == [last.cursor.position - 1]


async def test_a_purge_of_the_newest_is_told_though_nothing_follows(server: NatsServer) -> None:
    async with opened(server.url) as log, raw(server) as ask:
        await put(log, 0, "kept")
        last = await put(log, 1, "purged")
        async with watched(log) as before:
            await before.until("all", lambda w: len(w.messages) == 2)
            await ask("STREAM.PURGE.tidings", {"filter": f"tidings.log.{log.epoch}.purged"})
            async with watched(log) as watch:
                await watch.until(
                    "the hole", lambda w: [h.through for h in w.holes] == [last.cursor.position]
                )
                assert watch.data() == numbers(0)
                await put(log, 2)
                for each in (before, watch):
                    await each.until("what follows", lambda w: w.data()[-1:] == numbers(2))
            assert not before.holes


async def test_a_purge_of_everything_is_told_as_lost(server: NatsServer) -> None:
    async with opened(server.url) as log, raw(server) as ask:
        await put(log, 0)
        last = await put(log, 1)
        await ask("STREAM.PURGE.tidings")
        async with watched(log) as watch:
            assert watch.lives[0].lost_through == last.cursor.position
            await put(log, 2)
            await watch.until("what follows", lambda w: w.data() == numbers(2))
            assert not watch.holes


async def test_a_stream_that_was_bounded_by_channel_is_bounded_so_no_more(server: NatsServer) -> None:
    """As earlier versions made it. What was dropped from its middle is told, and no more is."""
    async with opened(server.url) as log, raw(server) as ask:
        config = (await ask("STREAM.INFO.tidings"))["config"]
        await ask(
            "STREAM.UPDATE.tidings",
            {**config, "max_msgs_per_subject": 3, "description": "tidings log 1, counted from 7"},
        )
        await put(log, 0, "quiet")
        for n in range(10):
            await put(log, n)
    async with opened(server.url) as log:
        for n in range(10, 20):
            last = await put(log, n)
        async with watched(log) as watch:
            await watch.until("all", lambda w: told_up_to(w) == last.cursor.position)
            assert [hole.through for hole in watch.holes] == [8]
            assert watch.data() == numbers(0, *range(7, 20))


async def test_records_of_others_are_passed_over_with_one_line_each(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server.url) as log, raw(server) as ask, watched(log) as watch:
        await put(log, 0)
        with caplog.at_level(logging.WARNING, "tidings.logs"):
            for payload in (b"", b"rubbish \r\n\x00", b"\x95\x01\xa1b\xc0\xc0\xc4\x011"):
                await ask.publish(f"tidings.log.{log.epoch}.a", payload)
            await ask.publish(f"tidings.log.{log.epoch}.deeper.a", b"x")
            await put(log, 1)
            await watch.until("ours", lambda w: len(w.messages) == 2)
        assert watch.data() == numbers(0, 1)
        assert not any(hole.ours for hole in watch.holes), "nobody missed anything"
        bad = [r.getMessage() for r in caplog.records if "log_bad_record" in r.getMessage()]
        assert len(bad) == 4
        assert all("\n" not in line and "rubbish" not in line for line in bad)
        assert [m.data for m in await log.read(["a"], 0, 10)] == numbers(0, 1)
