"""The same question in the same bytes: what it costs, counted, and that its answer is always today's."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha1
from typing import Any

import httptools
import pytest

import raw
from features.simulation import Simulation, Socket
from tidings.server import reader


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    made = await Simulation.begun(origins=["https://page.example"])
    yield made
    await made.close()


def last(socket: Socket) -> tuple[bytes, Any]:
    """Return the head and the body of the last answer."""
    head, _, body = socket.sent[-1][1].partition(b"\r\n\r\n")
    return head, json.loads(body) if body else None


def question(cursor: str, wait: int | None = None, **headers: str) -> bytes:
    query = f"?after={cursor}" + ("" if wait is None else f"&wait={wait}")
    return raw.head_of("GET", f"/channels/news{query}", headers)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the parsers that are made: a connection that asks what is known needs none."""
    made: list[int] = []
    monkeypatch.setattr(reader, "_known", {})

    def parser(protocol: object) -> Any:
        made.append(1)
        return real(protocol)

    real = httptools.HttpRequestParser
    monkeypatch.setattr(httptools, "HttpRequestParser", parser)
    return made


async def test_a_question_that_is_known_is_not_parsed(simulation: Simulation, parsed: list[int]) -> None:
    await simulation.publish("news")
    first = simulation.connect(raw.head_of("GET", "/channels/news"))
    cursor = last(first)[1]["cursor"]
    simulation.connect(question(cursor))
    simulation.connect(question(cursor))  # its header section was known, and now all of it is
    before = len(parsed)
    for _ in range(100):
        head, body = last(simulation.connect(question(cursor)))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body["cursor"] == cursor
    assert len(parsed) == before


async def test_waiters_that_ask_alike_are_looked_up_once(
    simulation: Simulation, parsed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await simulation.publish("news", b"1")
    cursor = last(simulation.connect(raw.head_of("GET", "/channels/news")))[1]["cursor"]
    for _ in range(2):
        simulation.connect(question(cursor, wait=25))
    before, looks = len(parsed), 0
    places = simulation.app.hub.places
    real = places.follow

    def follow(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(*arguments)

    monkeypatch.setattr(places, "follow", follow)
    waiters = [simulation.connect(question(cursor, wait=25)) for _ in range(100)]
    assert looks == 0
    assert len(parsed) == before
    await simulation.publish("news", b"2")
    assert [[m["data"] for m in last(waiter)[1]["messages"]] for waiter in waiters] == [[2]] * 100


@pytest.mark.parametrize("wait", [None, 25])
async def test_a_known_question_is_answered_anew_after_each_message(
    simulation: Simulation, wait: int | None
) -> None:
    await simulation.publish("news", b"0")
    asked = question(last(simulation.connect(raw.head_of("GET", "/channels/news")))[1]["cursor"], wait)
    sockets = [simulation.connect(asked) for _ in range(3)]
    for n in range(1, 4):
        await simulation.publish("news", b"%d" % n)
        sockets = [simulation.connect(asked) for _ in range(3)]
        assert [[m["data"] for m in last(s)[1]["messages"]] for s in sockets] == [list(range(1, n + 1))] * 3


async def test_a_known_question_is_refused_where_it_was_refused(simulation: Simulation) -> None:
    foreign = question("x-1", Origin="https://other.example", Host="tidings.example")
    for _ in range(4):
        assert simulation.connect(foreign).text.startswith(b"HTTP/1.1 403 ")


async def test_a_known_question_bears_what_its_origin_wants(simulation: Simulation) -> None:
    await simulation.publish("news")
    asked = raw.head_of("GET", "/channels/news", {"Origin": "https://page.example"})
    for _ in range(4):
        assert b"Access-Control-Allow-Origin: https://page.example\r\n" in simulation.connect(asked).text


async def test_a_server_that_stops_closes_behind_known_questions_too(simulation: Simulation) -> None:
    await simulation.publish("news")
    asked = raw.head_of("GET", "/channels/news")
    sockets = [simulation.connect(asked) for _ in range(3)]
    for connection in list(simulation.app.connections):
        assert connection.drain(1_000)
    assert all(socket.is_open() for socket in sockets)  # half-closed, for a moment
    simulation.pass_time(5)
    assert not any(socket.is_open() for socket in sockets)


async def test_what_is_remembered_is_bounded_and_only_questions(simulation: Simulation) -> None:
    known = simulation.app.questions._known
    socket = simulation.connect()
    for n in range(reader._QUESTIONS + 10):
        socket.say(raw.head_of("GET", f"/channels/c{n}"))
    assert 0 < len(known) <= reader._QUESTIONS
    body = (
        raw.head_of("POST", "/channels/news", {"Content-Type": "application/json", "Content-Length": "1"})
        + b"1"
    )
    for _ in range(3):
        socket.say(body)
    assert body not in known
    long = raw.head_of("GET", "/channels/news", {"X": "x" * 1_000})
    for _ in range(3):
        socket.say(long)
    assert long not in known


async def test_a_publisher_that_says_the_same_head_again_is_not_parsed(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await simulation.publish("news")
    fed = 0
    real = reader.RequestReader._parse

    def parse(self: reader.RequestReader, piece: bytes) -> None:
        nonlocal fed
        fed += 1
        real(self, piece)

    monkeypatch.setattr(reader.RequestReader, "_parse", parse)
    said = {"Content-Type": "application/json", "Content-Length": "3", "X-Whose": "mine"}
    socket = simulation.connect()
    for n in range(10):
        socket.say(raw.head_of("POST", "/channels/news", said) + b"%03d" % (n + 100))
    assert socket.text.count(b"HTTP/1.1 201 ") == 10
    assert fed == 2, "the first one's head and body"


async def test_a_head_that_was_a_batch_s_does_not_let_a_long_message_in(simulation: Simulation) -> None:
    lines = b'{"channel":"news","data":"%b"}\n' % (b"x" * 1_000) * 80
    said = {"Content-Type": "application/json", "Content-Length": str(len(lines))}
    for _ in range(2):
        assert simulation.connect(raw.head_of("POST", "/publish", said) + lines).text.startswith(
            b"HTTP/1.1 200 "
        )
    long = b'"' + b"x" * (len(lines) - 2) + b'"'
    refused = simulation.connect(raw.head_of("POST", "/channels/news", said) + long)
    assert refused.text.startswith(b"HTTP/1.1 413 ")


async def test_handshakes_of_one_kind_of_client_are_parsed_once(
    simulation: Simulation, parsed: list[int]
) -> None:
    def handshake(key: bytes) -> bytes:
        headers = {**raw.HANDSHAKE, "Sec-WebSocket-Key": key.decode()}
        return raw.head_of("GET", "/channels/news", headers)

    keys = [b64encode(b"%016d" % n) for n in range(20)]
    for key in keys:
        socket = simulation.connect(handshake(key))
        accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert b"Sec-WebSocket-Accept: %b\r\n" % accept in socket.text
        assert b'{"ready":' in socket.text
    assert len(reader._known) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: BBBBBBBBBBBBBBBBBBBBBB=="},
        {"Sec-WebSocket-Key": "AAAA"},
        {"Sec-WebSocket-Key": ""},
        {"Upgrade": "h2c"},
        {"Upgrade": "websocket, h2c"},
        {"Connection": "keep-alive"},
        {"Sec-WebSocket-Version": "8"},
    ],
)
async def test_a_bad_handshake_is_refused_however_often_it_comes(
    simulation: Simulation, headers: dict[str, str]
) -> None:
    simulation.connect(raw.head_of("GET", "/channels/news", raw.HANDSHAKE))
    bad = raw.head_of("GET", "/channels/news", {**raw.HANDSHAKE, **headers})
    first = simulation.connect(bad).text.partition(b"\r\n")[0]
    assert b" 101 " not in first
    for _ in range(4):
        assert simulation.connect(bad).text.partition(b"\r\n")[0] == first


async def test_a_frame_behind_a_known_handshake_reaches_the_socket(simulation: Simulation) -> None:
    asked = raw.head_of("GET", "/channels/news", raw.HANDSHAKE)
    for _ in range(3):
        socket = simulation.connect(asked + raw.frame(1, b'{"ping":{},"ref":7}'))
        assert socket.text.endswith(b'{"ok":{},"ref":7}')


async def test_two_questions_in_one_piece_are_two(simulation: Simulation) -> None:
    await simulation.publish("news")
    asked = raw.head_of("GET", "/channels/news")
    simulation.connect(asked)
    simulation.connect(asked)
    socket = simulation.connect(asked + asked)
    assert socket.text.count(b"HTTP/1.1 200 ") == 2
    assert asked + asked not in simulation.app.questions._known
    assert simulation.app.requests == 4


async def test_half_a_question_is_never_taken_for_a_known_one(simulation: Simulation) -> None:
    await simulation.publish("news")
    asked = raw.head_of("GET", "/channels/news")
    simulation.connect(asked)
    simulation.connect(asked)
    socket = simulation.connect(
        b"POST /channels/news HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(asked)
    )
    socket.say(asked)  # the body, which is no JSON
    assert socket.text.startswith(b"HTTP/1.1 400 ")
