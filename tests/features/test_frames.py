"""What a client's frames mean, however they come: whole ones are cut by hand, others the library reads."""

import random
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets import protocol as library

import raw
from features.simulation import Simulation, Socket
from tidings.transports import web_socket
from tidings.wire import web_socket as wire

_ID = re.compile(rb'"[a-z0-9]+-[0-9]+"')
PIECES = [
    raw.frame(raw.TEXT, b'{"ping":{},"ref":1}'),
    raw.frame(raw.TEXT, b'{"ping":{},"ref":null}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":{"a":1}}}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":1},"ref":{"b":[2]}}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":1},"ref":null}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":1},"ref":"%b"}' % (b"x" * 200)),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":1},"more":1}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":1},"publish":{"channel":"chat","data":2}}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"no such name","data":1},"ref":2}'),
    raw.frame(raw.TEXT, b'{"publish":{"channel":"chat"}}'),
    raw.frame(raw.TEXT, b'{"publish" : {"data": "%b", "channel": "chat"}}' % (b"y" * 300)),
    raw.frame(raw.TEXT, b'{"subscribe":{"channels":["a","b"]},"ref":3}'),
    raw.frame(raw.TEXT, b'{"unsubscribe":{"channels":["a"]},"ref":4}'),
    raw.frame(raw.TEXT, b'{"ping":"%b","ref":5}' % (b"z" * 70_000)),
    raw.frame(raw.TEXT, b""),
    raw.frame(raw.TEXT, b"{"),
    raw.frame(raw.TEXT, b"\xff"),
    raw.frame(raw.TEXT, b'{"ping"', fin=False) + raw.frame(raw.CONTINUATION, b":{}}"),
    raw.frame(raw.TEXT, b'{"ping"', fin=False)
    + raw.frame(raw.PING, b"?")
    + raw.frame(raw.CONTINUATION, b":{}}"),
    raw.frame(raw.PING, b"hello"),
    raw.frame(raw.PONG),
    raw.frame(raw.BINARY, b"{}"),
    raw.frame(raw.TEXT, b"{}", masked=False),
    raw.frame(raw.TEXT, b"{}", reserved=4),
    raw.frame(raw.TEXT, b"x" * 130)[:1] + b"\xff" + (130).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 130,
    raw.frame(raw.CLOSE, b"\x03\xe8bye"),
]


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    made = await Simulation.begun()
    yield made
    await made.close()


@pytest.fixture
def parsers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the library's parsers that are made."""
    made: list[int] = []
    real = library.Protocol

    def parser(*arguments: Any, **more: Any) -> Any:
        made.append(1)
        return real(*arguments, **more)

    monkeypatch.setattr(web_socket, "Protocol", parser)
    return made


def opened(simulation: Simulation) -> Socket:
    return simulation.connect(raw.head_of("GET", "/channels", raw.HANDSHAKE))


async def test_whole_commands_need_no_parser_and_one_that_was_needed_is_given_back(
    simulation: Simulation, parsers: list[int]
) -> None:
    socket = opened(simulation)
    command = raw.frame(raw.TEXT, b'{"publish":{"channel":"chat","data":1},"ref":1}')
    for _ in range(10):
        socket.say(command)
        socket.say(command * 3)
    assert socket.text.count(b'{"ok":') == 40
    assert not parsers
    socket.say(command[:9])
    socket.say(command[9:] + command)
    assert len(parsers) == 1
    socket.say(command)
    assert socket.text.count(b'{"ok":') == 43
    assert len(parsers) == 1


@pytest.mark.parametrize("seed", range(200))
async def test_frames_mean_the_same_however_they_come(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for _ in range(100):
        await simulation.publish("chat")  # ids are of one length from here on
    chance = random.Random(seed)
    stream = b"".join(
        chance.choice(PIECES[: 21 if chance.random() < 0.6 else None]) for _ in range(chance.randint(1, 8))
    )
    ways = [[stream], [stream[n : n + 1] for n in range(min(len(stream), 3_000))] + [stream[3_000:]]]
    cuts = sorted(chance.randrange(len(stream)) for _ in range(6))
    ways.append([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)])
    answers = []
    for by_hand in (True, False):
        if not by_hand:
            monkeypatch.setattr(wire, "whole_text", lambda _data, _at: None)
        for way in ways:
            socket = opened(simulation)
            for piece in way:
                if piece and socket.is_open():
                    socket.say(piece)
            simulation.clock.pass_time(0.1)
            answers.append((_ID.sub(b'"id"', socket.text.partition(b"\r\n\r\n")[2]), socket.is_open()))
    assert len(set(answers)) == 1, answers
