"""Following against a peer that cuts, repeats, refuses and keeps silent on demand."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tidings.client import (
    BadAnswer,
    Feed,
    Gap,
    Message,
    Refused,
    State,
    Unreachable,
    ask,
    backoff,
    follow,
    polling,
    supervisor,
    web_socket,
)
from tidings.client.choice import Transport

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]

TRANSPORTS: tuple[Transport, ...] = ("websocket", "sse", "long-polling", "polling")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, steady: None) -> None:
    monkeypatch.setattr(backoff, "BASE", 0.01)


def message(position: int, epoch: str = "e") -> dict[str, Any]:
    return {"id": f"{epoch}-{position}", "channel": "news", "time": 1, "data": position}


def gap(after: str, resumed: str, reason: str, channel: str = "news") -> dict[str, Any]:
    return {"channel": channel, "after": after, "resumed": resumed, "reason": reason}


def on(request: web.Request) -> str:
    """Return the transport that was asked for."""
    return request.query["transport"]


async def frames(
    request: web.Request, *said: dict[str, Any], close: int | None = None
) -> web.WebSocketResponse:
    """Say these frames; then close with this code, or wait for the client to go."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    for frame in said:
        await socket.send_str(json.dumps(frame))
    if close is None:
        await socket.receive()
    else:
        await socket.close(code=close)
    return socket


async def stream(request: web.Request, *said: str, cut: bool = True) -> web.StreamResponse:
    """Say these events; then end, or keep silent."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in said:
        await response.write(event.encode())
    if not cut:
        await asyncio.Event().wait()
    return response


def event(name: str, data: dict[str, Any], cursor: str | None = None) -> str:
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"


def problem(code: str, status: int, **headers: str) -> web.Response:
    body = {"code": code, "status": status, "detail": f"{code} it is.", "retry": status >= 500}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


async def take(items: Feed, count: int) -> list[Any]:
    """Return the data of this many messages, and gaps as they are."""
    taken: list[Any] = []
    async with asyncio.timeout(20), items:
        async for item in items:
            taken.append(item.data if isinstance(item, Message) else item)
            if len(taken) == count:
                break
    return taken


async def test_a_cut_websocket_goes_on_behind_the_last_message_and_drops_repeats(play: Play) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        ready = {"ready": {"cursor": "e-0", "channels": ["news"]}}
        if len(asked) == 1:
            return await frames(request, ready, {"message": message(1)}, {"message": message(2)}, close=4000)
        return await frames(request, ready, *({"message": message(n)} for n in (1, 2, 3)))

    items = follow(await play(answer), "news", transport="websocket")
    assert await take(items, 3) == [1, 2, 3]
    assert asked == [None, "e-2"]
    assert items.cursor == "e-3"


async def test_a_stream_that_saw_no_message_goes_on_from_its_ready(play: Play) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        ready = event("ready", {"cursor": "e-7", "channels": ["news"]}, "e-7")
        if len(asked) == 1:
            return await stream(request, "retry: 60\n\n", ready)
        return await stream(request, ready, f"data: {json.dumps(message(8))}\n\n", cut=False)

    items = follow(await play(answer), "news", transport="sse", rewind=5)
    assert await take(items, 1) == [8]
    assert asked == [None, "e-7"]


async def test_polls_follow_more_without_a_pause_and_ask_from_where_they_are(play: Play) -> None:
    asked: list[tuple[str | None, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.query.get("rewind"), request.query.get("after")))
        position = len(asked)
        if position == 4:
            return web.Response(status=304)
        # An advice of a minute: only `more` lets the test end in time.
        more = {"advice": {"poll_ms": 1}} if position == 3 else {"advice": {"poll_ms": 60_000}, "more": True}
        position = min(position, 4)
        return web.json_response({"messages": [message(position)], "cursor": f"e-{position}", **more})

    items = follow(await play(answer), "news", transport="polling", rewind=9)
    assert await take(items, 4) == [1, 2, 3, 4]
    assert asked[:5] == [("9", None), (None, "e-1"), (None, "e-2"), (None, "e-3"), (None, "e-3")]


async def test_a_given_interval_wins_over_the_advice(play: Play) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        position = 1 + int((request.query.get("after") or "e-0").partition("-")[2])
        told = {"messages": [message(position)], "cursor": f"e-{position}", "advice": {"poll_ms": 60_000}}
        return web.json_response(told)

    items = follow(await play(answer), "news", transport="polling", interval=0.01)
    assert await take(items, 3) == [1, 2, 3]


async def test_a_poll_names_the_tag_of_the_last_answer_and_not_its_own_cursor(play: Play) -> None:
    known: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        known.append(request.headers.get("If-None-Match"))
        if len(known) == 4:
            return web.json_response({"messages": [message(9)], "cursor": "e-9"}, headers={"ETag": '"e-9"'})
        if len(known) > 1:
            return web.Response(status=304, headers={"ETag": '"e-3"'})
        # The channel's last message is behind the cursor that was brought from elsewhere.
        return web.json_response({"messages": [], "cursor": "e-3"}, headers={"ETag": '"e-3"'})

    items = follow(await play(answer), "news", transport="polling", after="e-7", interval=0.01)
    assert await take(items, 1) == [9]
    assert known == [None, '"e-3"', '"e-3"', '"e-3"']


async def test_who_follows_the_advice_asks_for_a_whole_answer_now_and_then(play: Play) -> None:
    """A 304 bears no advice: a channel that fell silent would be asked for as often as before, for ever."""
    known: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        known.append(request.headers.get("If-None-Match"))
        if len(known) == polling.SILENT + 2:
            return web.json_response({"messages": [message(1)], "cursor": "e-1"})
        if known[-1] is not None:
            return web.Response(status=304)
        told = {"messages": [], "cursor": "e-0", "advice": {"poll_ms": 1}}
        return web.json_response(told, headers={"ETag": '"e-0"'})

    items = follow(await play(answer), "news", transport="polling")
    assert await take(items, 1) == [1]
    assert known == [None, *['"e-0"'] * polling.SILENT, None]


async def test_only_the_first_long_poll_is_not_held(play: Play) -> None:
    waits: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        waits.append(request.query.get("wait"))
        messages = [message(1)] if len(waits) > 1 else []
        return web.json_response({"messages": messages, "cursor": f"e-{len(messages)}"})

    items = follow(await play(answer), "news", transport="long-polling")
    assert await take(items, 1) == [1]
    assert waits[:2] == [None, "25"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refusal_is_raised_with_the_servers_words(play: Play, transport: Transport) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return problem("bad_cursor", 400)

    with pytest.raises(Refused) as refused:
        await take(follow(await play(refuse), "news", transport=transport), 1)
    no = refused.value
    assert (no.code, no.status, no.detail) == ("bad_cursor", 400, "bad_cursor it is.")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_busy_server_is_asked_again_after_the_time_it_names(play: Play, transport: Transport) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return problem("too_many_connections", 503, **{"Retry-After": "120"})

    told: asyncio.Future[State] = asyncio.get_running_loop().create_future()

    def on_state(state: State) -> None:
        if state.wait:
            told.set_result(state)

    items = follow(await play(busy), "news", transport=transport, on_state=on_state)
    waiting = asyncio.ensure_future(anext(items))
    state = await told
    assert state.wait >= 120
    assert state.reason == "too_many_connections it is."
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("code", [4500, 4501, 4999])
async def test_a_final_close_code_ends_the_feed(play: Play, code: int) -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        return await frames(request, close=code)

    with pytest.raises(Refused) as refused:
        await take(follow(await play(close), "news", transport="websocket"), 1)
    assert refused.value.status == code


@pytest.mark.parametrize("code", [4500, 4508])
async def test_a_final_end_on_a_stream_ends_the_feed(play: Play, code: int) -> None:
    async def end(request: web.Request) -> web.StreamResponse:
        return await stream(request, event("end", {"code": code, "reason": "revoked"}))

    with pytest.raises(Refused, match="revoked") as refused:
        await take(follow(await play(end), "news", transport="sse"), 1)
    assert refused.value.status == code


@pytest.mark.parametrize("code", [4000, 4005])
async def test_an_end_that_is_not_final_is_followed_on(play: Play, code: int) -> None:
    asked: list[str | None] = []

    async def end(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        position = len(asked)
        said = f"data: {json.dumps(message(position))}\n\n"
        return await stream(request, said, event("end", {"code": code, "reason": "restart"}))

    assert await take(follow(await play(end), "news", transport="sse"), 2) == [1, 2]
    assert asked == [None, "e-1"]


async def test_204_on_a_stream_means_stop(play: Play) -> None:
    async def stop(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    with pytest.raises(Refused) as refused:
        await take(follow(await play(stop), "news", transport="sse"), 1)
    assert refused.value.code == "stopped"


async def test_a_cut_among_gaps_loses_none_and_tells_each_once(play: Play) -> None:
    asked: list[str | None] = []
    far = {"gap": gap("d-5", "e-40", "epoch", "far")}
    near = {"gap": gap("d-5", "e-10", "epoch", "near")}

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        ready = {"ready": {"cursor": "e-10", "channels": ["far", "near"]}}
        if len(asked) == 1:
            return await frames(request, ready, far, close=4000)
        if len(asked) == 2:
            return await frames(request, ready, far, near, {"message": message(11)}, close=4000)
        return await frames(request, ready, {"message": message(12)})

    items = follow(await play(answer), ["far", "near"], transport="websocket", after="d-5")
    told = await take(items, 4)
    assert [item.channel if isinstance(item, Gap) else item for item in told] == ["far", "near", 11, 12]
    assert asked == ["d-5", "d-5", "e-11"]


@pytest.mark.parametrize("order", [(10, 40), (40, 10)])
async def test_after_several_gaps_the_smallest_place_is_gone_on_from(
    play: Play, order: tuple[int, int]
) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        ready = {"ready": {"cursor": "e-10", "channels": ["c1", "c2"]}}
        gaps = [{"gap": gap("d-5", f"e-{at}", "epoch", f"c{n}")} for n, at in enumerate(order, 1)]
        return await frames(request, ready, *gaps, {"message": message(11)})

    items = follow(await play(answer), ["c1", "c2"], transport="websocket", after="d-5")
    told = await take(items, 3)
    assert [item.resumed if isinstance(item, Gap) else item for item in told] == [
        *(f"e-{at}" for at in order),
        11,
    ]


async def test_a_cursor_from_the_future_goes_back_where_the_server_says(play: Play) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        if len(asked) == 1:
            told = [gap("e-99", "e-3", "ahead")]
            return web.json_response({"messages": [], "cursor": "e-3", "gap": told, "more": True})
        return web.json_response({"messages": [message(4)], "cursor": "e-4"})

    items = follow(await play(answer), "news", transport="polling", after="e-99")
    assert await take(items, 2) == [Gap("news", "e-99", "e-3", "ahead"), 4]
    assert asked == ["e-99", "e-3"]


async def test_an_empty_answer_never_moves_the_cursor_back(play: Play) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        if len(asked) == 1:
            return web.json_response({"messages": [], "cursor": "e-3", "more": True})
        return web.json_response({"messages": [message(6)], "cursor": "e-6"})

    items = follow(await play(answer), "news", transport="polling", after="e-5")
    assert await take(items, 1) == [6]
    assert asked == ["e-5", "e-5"]


@pytest.mark.parametrize("through", TRANSPORTS)
async def test_auto_takes_the_first_transport_that_gets_through(
    play: Play, monkeypatch: pytest.MonkeyPatch, through: Transport
) -> None:
    monkeypatch.setattr(supervisor, "HEAD_START", dict.fromkeys(TRANSPORTS, 0.3))
    order: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        # The first question of long-polling is a plain poll; what it cannot do is be answered.
        transport = on(request)
        order.append(transport)
        ready = {"cursor": "e-0", "channels": ["news"]}
        if transport == "websocket":
            if through == "websocket":
                return await frames(request, {"ready": ready}, {"message": message(1)})
            if through == "sse":
                # A proxy that takes the Upgrade out: the server says so.
                return problem("upgrade_required", 426)
            # Another that answers by itself.
            return web.Response(status=200, text="hello")
        if transport == "sse":
            if through == "sse":
                return await stream(
                    request, event("ready", ready), f"data: {json.dumps(message(1))}\n\n", cut=False
                )
            # A proxy that buffers: a head, and then nothing.
            return await stream(request, cut=False)
        if through == "polling" and order.count("polling") == 1:
            return web.Response(status=404, text="not by this proxy")
        return web.json_response({"messages": [message(1)], "cursor": "e-1"})

    items = follow(await play(answer), "news", after="e-0")
    assert await take(items, 1) == [1]
    assert items.transport == through


async def test_auto_raises_what_the_server_itself_refuses(play: Play) -> None:
    asked: list[str] = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        asked.append(on(request))
        return problem("origin_refused", 403)

    with pytest.raises(Refused) as refused:
        await take(follow(await play(refuse), "news"), 1)
    assert refused.value.code == "origin_refused"
    assert asked == ["websocket"]


async def test_auto_keeps_its_transport_while_the_server_is_away(play: Play) -> None:
    """A restart is no reason to end up polling."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        waits: asyncio.Queue[State] = asyncio.Queue()

        def on_state(state: State) -> None:
            if state.wait:
                waits.put_nowait(state)

        items = follow(url, "news", on_state=on_state)
        waiting = asyncio.ensure_future(anext(items))
        async with asyncio.timeout(20):
            states = [await waits.get() for _ in range(5)]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert {state.transport for state in states} == {"websocket"}


@pytest.mark.parametrize("transport", ["auto", *TRANSPORTS])
async def test_without_persistence_nobody_there_is_unreachable(transport: Transport) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match="refused"):
            await take(follow(url, "news", transport=transport, persist=False), 1)


@pytest.mark.parametrize("transport", ["auto", *TRANSPORTS])
async def test_without_persistence_a_peer_that_only_hangs_up_is_unreachable(transport: Transport) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        with pytest.raises(Unreachable):
            await take(follow(url, "news", transport=transport, persist=False), 1)


@pytest.mark.parametrize("transport", ["long-polling", "polling"])
@pytest.mark.parametrize("body", ["<html>", "{}", '{"messages":[{}],"cursor":"e-1"}'])
async def test_an_answer_of_something_else_ends_the_feed(play: Play, transport: Transport, body: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    with pytest.raises(BadAnswer):
        await take(follow(await play(answer), "news", transport=transport), 1)


@pytest.mark.parametrize("transport", ["sse", "long-polling", "polling"])
async def test_an_endless_answer_ends_the_feed(
    play: Play, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        kind = "text/event-stream" if on(request) == "sse" else "application/json"
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 1_000_000)
        except ConnectionError:
            return response

    with pytest.raises(BadAnswer):
        await take(follow(await play(flood), "news", transport=transport), 1)


async def test_a_frame_that_is_too_large_ends_the_feed(play: Play) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        large = message(1) | {"data": "x" * (5 * 1024 * 1024)}
        return await frames(request, {"message": large})

    with pytest.raises(BadAnswer, match="larger"):
        await take(follow(await play(flood), "news", transport="websocket"), 1)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_connection_on_which_nothing_comes_is_begun_again(
    play: Play, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    monkeypatch.setattr(ask, "SILENCE", 0.2)
    monkeypatch.setattr(web_socket, "TIMEOUT", aiohttp.ClientWSTimeout(ws_receive=0.2, ws_close=0.1))
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        ready = {"cursor": "e-0", "channels": ["news"]}
        said = message(len(asked))
        if on(request) == "websocket":
            return await frames(request, {"ready": ready}, {"message": said})
        return await stream(request, event("ready", ready), f"data: {json.dumps(said)}\n\n", cut=False)

    assert await take(follow(await play(answer), "news", transport=transport), 2) == [1, 2]
    assert asked == [None, "e-1"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_heartbeat_is_not_silence(
    play: Play, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    monkeypatch.setattr(ask, "SILENCE", 0.4)
    monkeypatch.setattr(web_socket, "TIMEOUT", aiohttp.ClientWSTimeout(ws_receive=0.4, ws_close=0.1))
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("after"))
        if on(request) == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str(json.dumps({"ready": {"cursor": "e-0", "channels": ["news"]}}))
            for _ in range(8):
                await asyncio.sleep(0.1)
                await socket.ping()
            await socket.send_str(json.dumps({"message": message(1)}))
            return socket
        response = await stream(request, event("ready", {"cursor": "e-0", "channels": ["news"]}))
        for _ in range(8):
            await asyncio.sleep(0.1)
            await response.write(b":\n\n")
        await response.write(f"data: {json.dumps(message(1))}\n\n".encode())
        return response

    assert await take(follow(await play(answer), "news", transport=transport), 1) == [1]
    assert asked == [None]


@pytest.mark.parametrize(
    "options",
    [
        {"transport": "pigeon"},
        {"after": "e-1", "rewind": 2},
        {"interval": 0},
        {"interval": float("nan")},
    ],
)
def test_options_that_say_nothing_sensible_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" is | are | both "):
        follow("http://127.0.0.1:1", "news", **options)


async def test_a_closed_feed_has_ended_and_keeps_its_cursor(play: Play) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await frames(request, {"message": message(1)})

    items = follow(await play(answer), "news", transport="websocket")
    await anext(items)
    await items.aclose()
    assert items.cursor == "e-1"
    with pytest.raises(StopAsyncIteration):
        await anext(items)
