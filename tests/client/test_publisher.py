"""The publisher against a peer that fails in all the ways that servers and networks do."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from tidings.client import BadAnswer, Publisher, Receipt, Refused, Unreachable, connection

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]

RECEIPT = {"id": "e-1", "durability": "memory"}


async def publish(url: str, *args: Any, **options: Any) -> Receipt:
    def once() -> Receipt:
        with Publisher(url, timeout=5.0) as sender:
            return sender.publish(*args, **options)

    return await asyncio.to_thread(once)


async def test_a_message_goes_out_with_all_that_belongs_to_it(play: Play) -> None:
    seen: list[tuple[str, str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        seen.append((request.path_qs, request.content_type, key, await request.read()))
        return web.json_response(RECEIPT, status=201)

    url = await play(answer)
    receipt = await publish(
        url, "news", {"a": "ü", "b": [1, None]}, event="x", key="a&b", idempotency_key="k1"
    )
    assert receipt == Receipt("e-1", "memory", duplicate=False)
    body = '{"a":"ü","b":[1,null]}'.encode()
    assert seen == [("/channels/news?event=x&key=a%26b", "application/json", "k1", body)]


async def test_bytes_are_sent_as_they_are(play: Play) -> None:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.json_response(RECEIPT, status=201)

    url = await play(answer)
    await publish(url, "news", b'{"n" : 1.00}')
    assert bodies == [b'{"n" : 1.00}']


@pytest.mark.parametrize("data", [float("nan"), "\ud800", object()])
async def test_data_without_json_never_leaves(data: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        await publish("http://127.0.0.1:9", "news", data)


@pytest.mark.parametrize(
    "options",
    [{"event": "a b"}, {"event": "ready"}, {"key": ""}, {"key": "a\nb"}, {"idempotency_key": "a\r\nX: 1"}],
)
async def test_bad_options_are_refused_before_anything_is_sent(options: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        await publish("http://127.0.0.1:9", "news", 1, **options)
    assert refused.value.code in {"bad_event", "bad_key"}


async def test_a_refusal_carries_the_problem_and_is_not_tried_again(play: Play) -> None:
    tries: list[None] = []

    async def refuse(_: web.Request) -> web.Response:
        tries.append(None)
        problem = {"code": "body_too_large", "status": 413, "detail": "Too much.", "retry": False}
        return web.json_response(problem, status=413, content_type="application/problem+json")

    url = await play(refuse)
    with pytest.raises(Refused) as refused:
        await publish(url, "news", 1)
    no = refused.value
    assert (no.code, no.status, no.detail, no.retry) == ("body_too_large", 413, "Too much.", False)
    assert len(tries) == 1


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(play: Play) -> None:
    keys: list[str] = []

    async def lose_the_first(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.json_response({**RECEIPT, "duplicate": True})

    url = await play(lose_the_first)
    receipt = await publish(url, "news", 1)
    # It was this very call that published: to the caller that is no duplicate.
    assert receipt == Receipt("e-1", "memory", duplicate=False)
    assert len(keys) == 2
    assert keys[0] == keys[1]


async def test_two_messages_have_two_keys(play: Play) -> None:
    keys: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        keys.add(request.headers["Idempotency-Key"])
        return web.json_response(RECEIPT, status=201)

    url = await play(answer)
    await publish(url, "news", 1)
    await publish(url, "news", 1)
    assert len(keys) == 2


async def test_a_key_of_the_callers_own_tells_a_duplicate(play: Play) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({**RECEIPT, "duplicate": True})

    url = await play(answer)
    assert (await publish(url, "news", 1, idempotency_key="mine")).duplicate


async def test_a_busy_server_is_asked_again_when_it_says_so(play: Play) -> None:
    tries: list[None] = []

    async def busy_once(_: web.Request) -> web.Response:
        tries.append(None)
        if len(tries) == 1:
            problem = {"code": "log_unavailable", "status": 503, "detail": "Later.", "retry": True}
            return web.json_response(problem, status=503, headers={"Retry-After": "0"})
        return web.json_response(RECEIPT, status=201)

    url = await play(busy_once)
    assert (await publish(url, "news", 1)).id == "e-1"


async def test_a_server_that_stays_busy_is_given_up(play: Play) -> None:
    tries: list[None] = []

    async def busy(_: web.Request) -> web.Response:
        tries.append(None)
        return web.Response(status=503)

    url = await play(busy)
    with pytest.raises(Refused) as refused:
        await publish(url, "news", 1)
    assert refused.value.code == "http-503"
    assert len(tries) == connection.TRIES


async def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Unreachable, match="refused"):
            await publish(url, "news", 1)


async def test_a_server_that_never_answers_is_given_up_in_time(play: Play) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    url = await play(hang)

    def once() -> None:
        with Publisher(url, timeout=0.2) as sender:
            sender.publish("news", 1)

    with pytest.raises(Unreachable, match="in time"):
        await asyncio.to_thread(once)


async def test_an_endless_answer_is_not_read_to_its_end(play: Play) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * 65536)
        except ConnectionError:
            return response

    url = await play(flood)
    with pytest.raises(BadAnswer, match="more than"):
        await publish(url, "news", 1)


@pytest.mark.parametrize("body", ["<html>", "{}", '{"id":1,"durability":"x"}'])
async def test_an_answer_of_something_else_is_a_bad_answer(play: Play, body: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=200, text=body)

    url = await play(answer)
    with pytest.raises(BadAnswer):
        await publish(url, "news", 1)


async def test_one_connection_serves_many_messages_and_many_threads(play: Play) -> None:
    peers: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        number = int(await request.read())
        return web.json_response({**RECEIPT, "id": f"e-{number}"}, status=201)

    url = await play(answer)

    def many() -> dict[int, str]:
        ids: dict[int, str] = {}
        with Publisher(url) as sender:

            def some(numbers: range) -> None:
                for number in numbers:
                    ids[number] = sender.publish("news", number).id

            threads = [threading.Thread(target=some, args=(range(n, n + 25),)) for n in (0, 25, 50, 75)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return ids

    assert await asyncio.to_thread(many) == {n: f"e-{n}" for n in range(100)}
    assert len(peers) == 1


@pytest.fixture
def one_request_a_connection() -> Iterator[Callable[[], str]]:
    """A server that closes every connection after one answer without saying so, as an idle timeout does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                received = b""
                while not received.endswith(b"\r\n\r\n1"):
                    received += peer.recv(65536)
                body = b'{"id":"e-1","durability":"memory"}'
                peer.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    thread = threading.Thread(target=serve)
    thread.start()
    yield lambda: f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_an_idle_connection_that_was_closed_is_replaced_and_not_counted(
    one_request_a_connection: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TRIES", 1)
    with Publisher(one_request_a_connection()) as sender:
        assert [sender.publish("news", 1).id for _ in range(3)] == ["e-1"] * 3
