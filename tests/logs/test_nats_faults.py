"""A log in NATS JetStream whose server is frozen, killed, emptied, or put back to an earlier state."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.nats import NatsServer
from logs.following import consistent, until
from logs.on_nats import numbers, opened, put, put_at_last, raw, watched
from logs.stopwatch import Stopwatch
from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Draft
from tidings.wire.record import pack


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as started:
        yield started


async def test_a_frozen_server_is_noticed_while_nobody_publishes(server: NatsServer) -> None:
    async with opened(server.url) as log:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await put(log, 0)
        server.freeze()
        await until("it is known to be away", lambda: log.away_since is not None, 5)
        # Since it was last heard: it has been asked and has not answered since.
        assert log.away_since is not None
        assert began < log.away_since <= loop.time() - limits.LOG_TIMEOUT
        asked = log.refresh()
        assert asked is not None
        with pytest.raises(Refusal):
            await asked
        with pytest.raises(Refusal):
            await log.read(["a"], 0, 10)
        server.thaw()
        await until("it is heard again", lambda: log.away_since is None)


@pytest.mark.slow
async def test_a_frozen_server_fails_appends_in_time_and_goes_on_when_it_runs(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_PULSE", 60)  # so that it is the append that finds out
    async with opened(server.url) as log, watched(log) as watch:
        await put(log, 0)
        server.freeze()
        with Stopwatch() as passed:
            for n in range(1, 4):
                with pytest.raises(Refusal) as refused:
                    await put(log, n, key=f"key{n}")
                assert refused.value.kind.code == "log_unavailable"
        assert passed.seconds < limits.LOG_TIMEOUT + 1
        await until("it is known to be away", lambda: log.away_since is not None)
        at_once = log.append([Draft("a", b"9")])
        assert at_once.done()
        with pytest.raises(Refusal):
            await at_once
        server.thaw()
        epoch = log.epoch
        for n in range(1, 6):
            await put_at_last(log, n)
        await watch.until("all", lambda w: set(w.data()) >= set(numbers(0, 1, 2, 3, 4, 5)))
        assert log.away_since is None
        assert [life.epoch for life in watch.lives] == [epoch]
        assert sorted(watch.data()) == numbers(0, 1, 2, 3, 4, 5)
        assert not watch.holes
        consistent(watch)


async def test_a_crash_of_the_server_loses_nothing_and_begins_no_life(server: NatsServer) -> None:
    async with (
        opened(server.url) as log,
        opened(server.url) as other,
        watched(log) as watch,
        watched(other) as second,
    ):
        for n in range(100):
            await put(log, n)
        await watch.until("all", lambda w: len(w.messages) == 100)
        server.kill()
        await until("it is known to be away", lambda: log.away_since is not None)
        server.start()
        for n in range(100, 200):
            await put_at_last(log if n % 2 else other, n)
        for each in (watch, second):
            await each.until("all", lambda w: len(w.messages) >= 200)
            assert each.data() == numbers(*range(200))
            assert len(each.lives) == 1
            assert not each.holes
        assert log.epoch == other.epoch == watch.lives[0].epoch
        consistent(watch, second)


async def test_a_server_that_comes_back_empty_begins_one_new_life_for_all(server: NatsServer) -> None:
    async with (
        opened(server.url) as log,
        opened(server.url) as other,
        watched(log) as watch,
        watched(other) as second,
    ):
        for n in range(10):
            await put(log, n)
        server.empty()
        receipt = await put_at_last(other, 100)
        for each in (watch, second):
            await each.until("the new life", lambda w: w.data()[-1:] == numbers(100))
            assert len(each.lives) == 2
            assert each.lives[0].epoch != each.lives[1].epoch == receipt.cursor.epoch
        assert log.epoch == other.epoch == receipt.cursor.epoch
        consistent(watch, second)


async def test_a_stream_that_is_deleted_under_us_begins_a_new_life(server: NatsServer) -> None:
    async with (
        opened(server.url) as log,
        opened(server.url) as other,
        raw(server) as ask,
        watched(log) as watch,
        watched(other) as second,
    ):
        for n in range(10):
            await put(log, n)
        await ask("STREAM.DELETE.tidings")
        receipt = await put_at_last(log, 100)
        for each in (watch, second):
            await each.until("the new life", lambda w: w.data()[-1:] == numbers(100))
            assert each.lives[-1].epoch == receipt.cursor.epoch != each.lives[0].epoch
        consistent(watch, second)


async def test_a_lost_tail_begins_a_new_life_and_no_position_is_told_twice(server: NatsServer) -> None:
    async with (
        opened(server.url) as log,
        opened(server.url) as other,
        watched(log) as watch,
        watched(other) as second,
    ):
        for n in range(20):
            await put(log, n)
        copy = await asyncio.to_thread(server.copy_store, "copy")
        await put_at_last(log, 20)
        await until("both are back", lambda: log.away_since is None is other.away_since)
        for n in range(21, 40):
            await put_at_last(log, n)
        for each in (watch, second):
            await each.until("all", lambda w: len(w.messages) == 40)
            assert len(each.lives) == 1, "a plain restart begins no life"
        server.put_back(copy)
        await until("it is found out", lambda: log.epoch == other.epoch != watch.lives[0].epoch)
        receipt = await put_at_last(other, 100)
        assert receipt.cursor.position <= 41
        for each in (watch, second):
            await each.until("the new life", lambda w: w.data()[-1:] == numbers(100))
            assert each.data(receipt.cursor.epoch) == numbers(*range(20), 100)
        assert log.epoch == other.epoch == receipt.cursor.epoch
        consistent(watch, second)


async def test_a_copy_that_is_put_back_twice_does_not_bring_back_its_life(server: NatsServer) -> None:
    async with opened(server.url) as log, watched(log) as watch:
        await put(log, 0)
        copy = await asyncio.to_thread(server.copy_store, "copy")
        epochs = [log.epoch]
        for turn in range(1, 4):
            # The same number of messages each time: the head alone does not tell.
            await put_at_last(log, turn)
            await watch.until("it", lambda w, n=turn: w.data()[-1:] == numbers(n))  # type: ignore[misc]
            server.put_back(copy)
            await until("it is back", lambda e=log.epoch: log.epoch != e)  # type: ignore[misc]
            epochs.append(log.epoch)
        assert len(set(epochs)) == 4
        consistent(watch)


@pytest.mark.parametrize("others", [1, 2])
async def test_a_tail_that_was_replaced_by_others_messages_is_found_out(
    server: NatsServer, tmp_path: Path, others: int
) -> None:
    """The head is as high as it was, or higher; only what stands there is something else."""
    async with opened(server.url) as log, watched(log) as watch:
        await put(log, 0)
        copy = await asyncio.to_thread(server.copy_store, "copy")
        await put_at_last(log, 1)
        await watch.until("it", lambda w: w.data() == numbers(0, 1))
        epoch = log.epoch
        elsewhere = NatsServer(tmp_path / "elsewhere")
        elsewhere.put_back(copy)
        async with raw(elsewhere) as ask:
            for n in range(others):
                await ask.publish(f"tidings.log.{epoch}.a", pack(Draft("a", b"%d" % (50 + n))))
        elsewhere.stop()
        server.put_back(elsewhere.store)
        await until("another life has begun", lambda: log.epoch != epoch)
        await put_at_last(log, 2)
        await watch.until("it", lambda w: w.data(log.epoch) == numbers(0, 50, 51)[: others + 1] + numbers(2))
        consistent(watch)


async def test_an_acknowledgement_below_the_head_is_not_believed(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is replaced by an empty one of the same life, faster than anyone looks."""
    monkeypatch.setattr(limits, "LOG_PULSE", 60)
    async with opened(server.url) as log, raw(server) as ask:
        for n in range(5):
            last = await put(log, n)
        epoch = log.epoch
        config = (await ask("STREAM.INFO.tidings"))["config"]
        await ask("STREAM.DELETE.tidings")
        await ask("STREAM.CREATE.tidings", config)
        with pytest.raises(Refusal):
            await put(log, 99)
        receipt = await put_at_last(log, 100)
        assert receipt.cursor.epoch != epoch
        assert receipt.cursor.position < last.cursor.position
        async with watched(log) as watch:
            await watch.until("the new life", lambda w: w.data() == numbers(99, 100))


async def test_closing_while_the_server_is_frozen_takes_its_time_limit_and_no_more(
    server: NatsServer,
) -> None:
    async with opened(server.url) as log, watched(log):
        await put(log, 0)
        server.freeze()
        waiting = log.append([Draft("a", b"1")])
        with Stopwatch() as passed:
            await log.close()
        assert passed.seconds < limits.LOG_TIMEOUT + 3
        with pytest.raises(Refusal):
            await waiting
    server.thaw()
