"""Who the client is: its token on every request, fetched anew when it is refused, by one fetch for all."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

import tidings
from tidings.client import Feed, Message, Publisher, Refused, backoff, follow
from tidings.client.choice import TRANSPORTS, Transport

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


def problem(code: str, status: int) -> web.Response:
    body = {"code": code, "status": status, "detail": f"{code} it is.", "retry": False}
    return web.json_response(body, status=status, content_type="application/problem+json")


class Guarded:
    """A server that takes one token at a time, and says what it was asked with."""

    def __init__(self, good: str) -> None:
        self.good = good
        self.asked: list[str | None] = []
        self.revoked = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        self.asked.append(given)
        if given != f"Bearer {self.good}":
            return problem("bad_token", 401)
        message = {"id": f"e-{len(self.asked)}", "channel": "news", "time": 1, "data": len(self.asked)}
        ready = {"cursor": "e-0", "channels": ["news"]}
        if request.method == "POST":
            return web.json_response({"id": "e-1", "durability": "memory"}, status=201)
        match request.query["transport"]:
            case "websocket":
                socket = web.WebSocketResponse()
                await socket.prepare(request)
                await socket.send_str(json.dumps({"ready": ready}))
                await socket.send_str(json.dumps({"message": message}))
                waiting = asyncio.ensure_future(self.revoked.wait())
                receiving = asyncio.ensure_future(socket.receive())
                await asyncio.wait({waiting, receiving}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                await socket.close(code=4001, message=b"the token has expired")
                return socket
            case "sse":
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                await response.write(f"event: ready\ndata: {json.dumps(ready)}\n\n".encode())
                await response.write(f"data: {json.dumps(message)}\n\n".encode())
                await self.revoked.wait()
                end = {"code": 4001, "reason": "the token has expired"}
                await response.write(f"event: end\ndata: {json.dumps(end)}\n\n".encode())
                return response
            case _:
                return web.json_response({"messages": [message], "cursor": message["id"]})


async def take(feed: Feed, count: int) -> list[Any]:
    async with asyncio.timeout(20):
        items = [await anext(feed) for _ in range(count)]
    return [item.data for item in items if isinstance(item, Message)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, steady: None) -> None:
    monkeypatch.setattr(backoff, "BASE", 0.01)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_request_says_who_is_asking(play: Play, transport: Transport) -> None:
    server = Guarded("abc.def-123_~+/=")
    url = await play(server.answer)
    async with tidings.connect(url, token=server.good, transports=[transport]) as client:
        assert len(await take(client.subscribe("news"), 1)) == 1
        await client.publish("news", 1)
    assert set(server.asked) == {f"Bearer {server.good}"}


@pytest.mark.parametrize("transport", [*TRANSPORTS, "auto"])
async def test_a_refused_token_is_fetched_anew_once(play: Play, transport: Any) -> None:
    server = Guarded("t2")
    tokens = iter(["t1", "t2", "t3"])
    async with follow(
        await play(server.answer), "news", transport=transport, token=lambda: next(tokens)
    ) as feed:
        assert len(await take(feed, 1)) == 1
    assert server.asked[:2] == ["Bearer t1", "Bearer t2"]
    assert next(tokens) == "t3"


@pytest.mark.parametrize("transport", [*TRANSPORTS, "auto"])
async def test_a_token_that_is_refused_twice_ends_it(play: Play, transport: Any) -> None:
    server = Guarded("never")
    fetched = 0

    async def fetch() -> str:
        nonlocal fetched
        fetched += 1
        return f"t{fetched}"

    with pytest.raises(Refused) as refused:
        async with follow(await play(server.answer), "news", transport=transport, token=fetch) as feed:
            await take(feed, 1)
    assert (refused.value.code, refused.value.status) == ("bad_token", 401)
    assert fetched == 2
    assert len(server.asked) == 2


async def test_a_fixed_token_that_is_refused_ends_it_at_once(play: Play) -> None:
    server = Guarded("other")
    url = await play(server.answer)
    async with tidings.connect(url, token="mine") as client:
        with pytest.raises(Refused, match="bad_token"):
            await take(client.subscribe("news"), 1)
        with pytest.raises(Refused, match="bad_token"):
            await client.publish("news", 1)
    assert len(server.asked) == 2


async def test_one_fetch_at_a_time_for_all_who_need_one(play: Play) -> None:
    server = Guarded("t2")
    fetched = running = 0

    async def fetch() -> str:
        nonlocal fetched, running
        fetched += 1
        running += 1
        assert running == 1
        await asyncio.sleep(0.05)
        running -= 1
        return f"t{fetched}"

    async with tidings.connect(await play(server.answer), token=fetch) as client:
        feeds = [client.subscribe("news", on_state=lambda _: None) for _ in range(4)]
        async with asyncio.timeout(20):
            await asyncio.gather(
                *(client.publish("news", n) for n in range(12)), *(take(feed, 1) for feed in feeds)
            )
    assert fetched == 2


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_token_that_expires_on_the_way_is_fetched_anew(play: Play, transport: Transport) -> None:
    server = Guarded("t1")
    tokens = iter(["t1", "t2"])
    async with follow(
        await play(server.answer), "news", transport=transport, token=lambda: next(tokens)
    ) as feed:
        assert await take(feed, 1) == [1]
        server.good = "t2"
        server.revoked.set()
        assert await take(feed, 1) == [2]
    # Not asked with the old one first.
    assert server.asked[:2] == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize("transport", [*TRANSPORTS, "auto"])
async def test_a_403_stops_it_with_the_servers_words(play: Play, transport: Any) -> None:
    asked: list[None] = []

    async def deny(_: web.Request) -> web.StreamResponse:
        asked.append(None)
        return problem("denied", 403)

    url = await play(deny)
    fetched = 0

    def fetch() -> str:
        nonlocal fetched
        fetched += 1
        return "t"

    feed = follow(url, "news", transport=transport, token=fetch)
    with pytest.raises(Refused, match="denied it is") as refused:
        await take(feed, 1)
    assert refused.value.status == 403
    assert (feed.state.name, len(asked), fetched) == ("failed", 1, 1)
    assert "denied" in feed.explain()


async def test_a_token_service_that_is_away_is_asked_again(play: Play) -> None:
    server = Guarded("t")
    tries = 0

    def fetch() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError(111, "refused")
        return "t"

    async with tidings.connect(await play(server.answer), token=fetch) as client:
        assert len(await take(client.subscribe("news"), 1)) == 1
        await client.publish("news", 1)
    assert tries == 3


async def test_a_fault_of_the_callers_own_is_raised(play: Play) -> None:
    server = Guarded("t")
    for fault in (lambda: "a\r\nX: y", lambda: 1 / 0):
        async with tidings.connect(await play(server.answer), token=fault) as client:  # type: ignore[arg-type]
            with pytest.raises((ValueError, ZeroDivisionError)):
                await take(client.subscribe("news"), 1)
            with pytest.raises((ValueError, ZeroDivisionError)):
                await client.publish("news", 1)
    assert server.asked == []


@pytest.mark.parametrize("text", ["", "a b", "a\r\nX: y", "ü", "="])
def test_what_is_no_token_never_reaches_a_header_or_a_message(text: str) -> None:
    for make in (tidings.connect, Publisher):
        with pytest.raises(ValueError, match="token") as refused:
            make("http://127.0.0.1:1", token=text)
        assert not text or text not in str(refused.value).replace("perhaps = at", "")


async def test_a_publisher_in_plain_code_has_one_too(play: Play) -> None:
    server = Guarded("t2")
    tokens = iter(["t1", "t2", "t3"])
    url = await play(server.answer)

    def publish() -> None:
        with Publisher(url, token=lambda: next(tokens)) as publisher:
            publisher.publish("news", 1)
            publisher.publish("news", 2)
            server.good = "never"
            with pytest.raises(Refused, match="bad_token"):
                publisher.publish("news", 3)

    await asyncio.to_thread(publish)
    assert server.asked == [f"Bearer t{n}" for n in (1, 2, 2, 2, 3)]
