"""Leaving: a client leaves nothing behind, and an iteration that is cancelled loses nothing."""

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

import tidings
from client.obstacle import obstacle
from kit import ServerProcess, serving
from tidings.client import Feed, Message, buffer, follow, supervisor, upgrade
from tidings.client.choice import TRANSPORTS, Transport

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def channel() -> str:
    return f"left-{next(_numbers)}"


def others() -> set[asyncio.Task[Any]]:
    """Return all tasks but this one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def until_live(feed: Feed) -> None:
    async with asyncio.timeout(20):
        while feed.state.name != "live":  # noqa: ASYNC110 - the state is another task's
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_closed_client_leaves_no_task_behind(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    before = others()
    async with tidings.connect(shared.url, transports=[transport]) as client:
        feeds = [client.subscribe(f"{channel}.{n}") for n in range(3)]
        for feed in feeds:
            async with asyncio.timeout(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await anext(feed)
        await client.publish(channel, 1)
        assert others() != before
    assert others() == before
    for feed in feeds:
        with pytest.raises(StopAsyncIteration):
            await anext(feed)


async def test_it_may_be_left_in_the_middle_of_anything(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "HEAD_START", dict.fromkeys(TRANSPORTS, 0.05))
    monkeypatch.setattr(upgrade, "FIRST", 0.02)
    async with obstacle(shared, websocket="hang", sse="hang", publish="hang") as way:
        before = others()
        # Connecting, racing, live, and with a better transport on its way.
        for pause in (0.0, 0.02, 0.08, 0.15, 0.3):
            async with tidings.connect(way.url) as client:
                async with client.subscribe(channel):
                    sending = asyncio.create_task(client.publish(channel, 1))
                    await asyncio.sleep(pause)
                await client.aclose()
                await asyncio.wait([sending])
                assert sending.exception() is not None
            # Only the obstacle's own are left, until it hears that the connections are closed.
            async with asyncio.timeout(10):
                while others() - before:  # noqa: ASYNC110 - the other end of connections
                    await asyncio.sleep(0.005)
    async with tidings.connect("http://127.0.0.1:9") as client, client.subscribe(channel) as feed:
        before = others()
        async with asyncio.timeout(10):
            while feed.state.name != "offline":  # noqa: ASYNC110 - the state is another task's
                await asyncio.sleep(0.005)


async def test_leaving_the_loop_closes_the_connection(shared: ServerProcess, channel: str) -> None:
    async with tidings.connect(shared.url) as client:
        await client.publish(channel, 1)
        before = others()
        async for _ in client.subscribe(channel, after="earliest"):
            break
        async with asyncio.timeout(10):
            while others() - before:
                gc.collect()
                await asyncio.sleep(0.005)
        assert "0 subscriptions" in client.explain()


async def test_a_feed_of_its_own_leaves_nothing_either(shared: ServerProcess, channel: str) -> None:
    before = others()
    async with follow(shared.url, channel) as feed:
        await until_live(feed)
    assert others() == before
    await feed.aclose()
    never = follow(shared.url, channel)
    await never.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(never)
    assert others() == before


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_iteration_that_is_cancelled_loses_nothing(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    got: list[Any] = []
    async with (
        tidings.connect(shared.url, transports=[transport]) as client,
        client.subscribe(channel, after="earliest", interval=0.01) as feed,
        asyncio.timeout(30),
    ):

        async def publish() -> None:
            for number in range(100):
                await client.publish(channel, number)
                await asyncio.sleep(0.002)

        publishing = asyncio.create_task(publish())
        while len(got) < 100:
            try:
                async with asyncio.timeout(0.001):
                    item = await anext(feed)
            except TimeoutError:
                continue
            assert isinstance(item, Message)
            got.append(item.data)
            assert feed.cursor == item.id
        await publishing
    assert got == list(range(100))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_reader_that_is_slow_costs_a_bounded_buffer_and_misses_nothing(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    pad = "x" * 50_000
    async with tidings.connect(shared.url, transports=[transport]) as client:
        feed = client.subscribe(channel, after="earliest", interval=0.01)
        await client.publish(channel, 0)
        await anext(feed)
        tracemalloc.start()
        try:
            # 20 MB, of which nobody takes anything.
            for number in range(1, 401):
                await client.publish(channel, [number, pad])
            await asyncio.sleep(0.2)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 5 * buffer.BYTES
        got: list[int] = []
        async with asyncio.timeout(60):
            while len(got) < 400:
                item = await anext(feed)
                assert isinstance(item, Message), item
                got.append(item.data[0])
        assert got == list(range(1, 401))


async def test_a_reader_that_the_server_has_cut_resumes_from_its_cursor(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer, "ITEMS", 4)
    async with obstacle(shared) as way, tidings.connect(way.url) as client:
        # More than all buffers on the way hold.
        for number in range(300):
            await client.publish(channel, [number, "x" * 50_000])
        feed = client.subscribe(channel, after="earliest")
        got: list[int] = []
        async with asyncio.timeout(30):
            while len(got) < 300:
                item = await anext(feed)
                assert isinstance(item, Message)
                got.append(item.data[0])
                if len(got) in {5, 20}:
                    way.cut()
        assert got == list(range(300))
        assert way.seen["websocket"] > 1
