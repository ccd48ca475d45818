"""Publishing from asyncio: acknowledged, once, bounded, and clear about what is not known."""

import asyncio
import itertools
import json
import socket
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

import tidings
from client.obstacle import obstacle
from kit import ServerProcess, serving
from tidings.client import BadAnswer, NotAcknowledged, Receipt, Refused, publishing

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
RECEIPT = {"id": "e-1", "durability": "memory"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def channel() -> str:
    return f"published-{next(_numbers)}"


def kept(server: ServerProcess, channel: str) -> list[Any]:
    """Return the data of all that the server has of this channel."""
    url = f"{server.url}/channels/{channel}?after=earliest&limit=1000"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return [message["data"] for message in json.loads(answer.read())["messages"]]


def problem(code: str, status: int, *, retry: bool, **headers: str) -> web.Response:
    body = {"code": code, "status": status, "detail": f"{code} it is.", "retry": retry}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


async def test_a_message_is_acknowledged_with_all_that_belongs_to_it(
    shared: ServerProcess, channel: str
) -> None:
    async with tidings.connect(shared.url) as client:
        receipt = await client.publish(channel, {"a": "ü"}, event="price", key="a&b")
        again = await client.publish(channel, 2, idempotency_key="k")
        twice = await client.publish(channel, 3, idempotency_key="k")
        [first, second] = [m async for m in _two(client.subscribe(channel, after="earliest"))]
    assert isinstance(first, tidings.Message)
    assert (first.id, first.event, first.key, first.data) == (receipt.id, "price", "a&b", {"a": "ü"})
    assert (again.duplicate, twice.duplicate, twice.id) == (False, True, second.id)


async def _two(feed: Any) -> Any:
    for _ in range(2):
        yield await anext(feed)


async def test_an_answer_lost_on_the_way_never_doubles_the_message(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BACKOFF", 0.02)
    async with obstacle(shared, publish="lose") as way, tidings.connect(way.url) as client:
        sending = [asyncio.create_task(client.publish(channel, n)) for n in range(8)]
        async with asyncio.timeout(20):
            while way.seen["publish"] < 16:  # noqa: ASYNC110 - every answer was lost, most of them twice
                await asyncio.sleep(0.01)
        way.treat["publish"] = "pass"
        receipts = await asyncio.gather(*sending)
    assert sorted(kept(shared, channel)) == list(range(8))
    # To the caller, who published once, it is no duplicate.
    assert {receipt.duplicate for receipt in receipts} == {False}
    assert len({receipt.id for receipt in receipts}) == 8


async def test_with_no_answer_at_all_it_says_that_it_may_have_been_published_and_how_to_go_on(
    shared: ServerProcess, channel: str
) -> None:
    key: str | None = None
    async with obstacle(shared, publish="lose") as way, tidings.connect(way.url) as client:
        # Once, but where half a second was not enough for the message to arrive and its answer to be lost.
        while key is None or not kept(shared, channel) or channel not in client.explain():
            with pytest.raises(NotAcknowledged) as ended:
                await client.publish(channel, 1, idempotency_key=key, timeout=0.5)
            assert ended.value.maybe_published
            assert "may have been published" in str(ended.value)
            assert key in {None, ended.value.idempotency_key}
            key = ended.value.idempotency_key
        way.treat["publish"] = "pass"
        receipt = await client.publish(channel, 1, idempotency_key=key)
        assert receipt.duplicate
    assert kept(shared, channel) == [1]


async def test_nobody_there_is_waited_for_and_then_told_that_nothing_was_published() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with tidings.connect(url) as client:
            begun = time.monotonic()
            with pytest.raises(NotAcknowledged, match="was not published") as ended:
                await client.publish("news", 1, timeout=0.4)
            assert time.monotonic() - begun >= 0.4
            assert not ended.value.maybe_published
            assert "refused" in ended.value.reason


async def test_a_server_that_comes_back_in_time_gets_the_message(channel: str) -> None:
    with serving("--drain", "0.1") as first:
        async with tidings.connect(first.url, timeout=25) as client:
            await client.publish(channel, 1)
            await asyncio.to_thread(first.stop)
            sending = asyncio.create_task(client.publish(channel, 2))
            with serving("--port", str(first.port)) as second:
                assert (await sending).id
                assert kept(second, channel) == [2]


@pytest.mark.parametrize(
    ("code", "maybe"), [("shutting_down", False), ("too_many_connections", False), ("log_unavailable", True)]
)
async def test_the_servers_own_word_decides_whether_it_may_have_been_published(
    play: Play, code: str, maybe: bool, monkeypatch: pytest.MonkeyPatch, steady: None
) -> None:
    monkeypatch.setattr(publishing, "BACKOFF", 0.02)
    asked: list[None] = []

    async def refuse(_: web.Request) -> web.StreamResponse:
        asked.append(None)
        # At the end of the time no try is on its way, of which nothing would be known.
        later = {"Retry-After": "60"} if len(asked) == 3 else {}
        return problem(code, 503, retry=True, **later)

    async with tidings.connect(await play(refuse), timeout=1.0) as client:
        with pytest.raises(NotAcknowledged, match=code) as ended:
            await client.publish("news", 1)
    assert len(asked) == 3
    assert ended.value.maybe_published is maybe


async def test_retry_after_is_waited_for(play: Play) -> None:
    times: list[float] = []

    async def answer(_: web.Request) -> web.StreamResponse:
        times.append(time.monotonic())
        if len(times) == 1:
            return problem("shutting_down", 503, retry=True, **{"Retry-After": "1"})
        return web.json_response(RECEIPT, status=201)

    async with tidings.connect(await play(answer)) as client:
        await client.publish("news", 1)
    assert times[1] - times[0] >= 1.0


async def test_several_are_on_their_way_together_but_not_more_than_some(play: Play) -> None:
    now = most = 0
    enough = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == publishing.TOGETHER:
            enough.set()
        await enough.wait()
        # For one too many, who would come now.
        await asyncio.sleep(0.02)
        now -= 1
        return web.json_response(RECEIPT, status=201)

    async with tidings.connect(await play(answer)) as client, asyncio.timeout(20):
        receipts = await asyncio.gather(*(client.publish("news", n) for n in range(100)))
    assert receipts == [Receipt("e-1", "memory", duplicate=False)] * 100
    assert most == publishing.TOGETHER


async def test_a_closed_client_gives_up_what_is_on_its_way(play: Play) -> None:
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.sleep(60)
        return web.Response()

    client = tidings.connect(await play(hang))
    sending = asyncio.create_task(client.publish("news", 1))
    await arrived.wait()
    await client.aclose()
    with pytest.raises(NotAcknowledged, match="closed") as ended:
        await sending
    assert ended.value.maybe_published
    with pytest.raises(RuntimeError, match="closed"):
        await client.publish("news", 2)
    with pytest.raises(RuntimeError, match="closed"):
        client.subscribe("news")


async def test_a_refusal_is_raised_at_once(play: Play) -> None:
    asked: list[None] = []

    async def refuse(_: web.Request) -> web.StreamResponse:
        asked.append(None)
        return problem("body_too_large", 413, retry=False)

    async with tidings.connect(await play(refuse)) as client:
        with pytest.raises(Refused) as refused:
            await client.publish("news", 1)
        assert refused.value.code == "body_too_large"
        assert len(asked) == 1
        # Before anything is sent.
        with pytest.raises(Refused):
            await client.publish("a b", 1)
        with pytest.raises(Refused):
            await client.publish("a", 1, event="ready")
        with pytest.raises(ValueError, match="JSON"):
            await client.publish("news", float("nan"))
        assert len(asked) == 1


@pytest.mark.parametrize("status", [200, 202, 302])
async def test_an_answer_of_something_else_is_a_bad_answer(play: Play, status: int) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>", headers={"Location": "/elsewhere"})

    async with tidings.connect(await play(answer)) as client:
        with pytest.raises(BadAnswer):
            await client.publish("news", 1)


@pytest.mark.parametrize("seconds", [0, -1, 301, float("nan")])
async def test_a_timeout_must_end_before_keys_are_forgotten(seconds: float) -> None:
    with pytest.raises(ValueError, match="300"):
        tidings.connect("http://127.0.0.1:1", timeout=seconds)
    client = tidings.connect("http://127.0.0.1:1")
    with pytest.raises(ValueError, match="300"):
        await client.publish("news", 1, timeout=seconds)
