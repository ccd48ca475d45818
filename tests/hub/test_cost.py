"""What a delivery costs, counted: writes, renderings, allocations. Never timed."""

import gc
import sys

import pytest

from hub_model import RecordingConnection, World
from tidings.core.history import Retention
from tidings.core.start import Earliest, Now
from tidings.transports import long_polling, polling
from tidings.transports.ask import Ask, Transport, after
from tidings.transports.sse import EventStream
from tidings.transports.web_socket import WebSocket
from tidings.wire.http import Response

READERS = 1_000


@pytest.fixture
def world() -> World:
    return World(Retention(), write_buffer=64 * 1024)


def stream(world: World, kind: type[EventStream | WebSocket], *channels: str) -> RecordingConnection:
    connection = RecordingConnection()
    exchange = kind(world.hub, channels, connection)
    exchange.begin(Response(200), world.hub.places.locate(channels, Now()))
    connection.writes = 0
    return connection


@pytest.mark.parametrize("kind", [EventStream, WebSocket])
def test_a_message_is_rendered_once_and_written_once_to_each(
    world: World, kind: type[EventStream | WebSocket]
) -> None:
    connections = [stream(world, kind, "news") for _ in range(READERS)]
    before = world.hub.stats.renderings
    world.publish("news", b"1")
    world.deliver()
    assert [c.writes for c in connections] == [1] * READERS
    assert world.hub.stats.renderings - before == 1
    assert len({id(c.written[-1]) for c in connections}) == 1, "all were written the same bytes object"


def test_what_one_turn_brought_goes_out_in_one_write(world: World) -> None:
    connections = [stream(world, WebSocket, "a", "b") for _ in range(READERS)]
    for n in range(50):
        world.publish("ab"[n % 2], b"%d" % n)
    world.deliver()
    assert [c.writes for c in connections] == [1] * READERS
    assert world.hub.stats.delivered == 50 * READERS


def test_a_message_for_one_channel_costs_the_others_nothing(world: World) -> None:
    connections = [stream(world, EventStream, f"c{n}") for n in range(READERS)]
    world.publish("c7", b"1")
    world.deliver()
    assert sum(c.writes for c in connections) == 1


def test_a_live_subscriber_costs_no_allocation_per_message(world: World) -> None:
    connections = [stream(world, WebSocket, "news") for _ in range(READERS)]
    assert all(connection.exchange is not None for connection in connections)
    world.hub._send = _ignore  # recording allocates; the bare walk must not
    world.publish("news", b"0")
    world.deliver()
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for n in range(10):
            world.publish("news", b"%d" % n)
            world.deliver()
        blocks = sys.getallocatedblocks() - before
    finally:
        gc.enable()
    assert blocks / (10 * READERS) < 0.1, "blocks that stay, per delivery"


def _ignore(_descriptor: int, data: bytes) -> int:
    return len(data)


def test_waiting_long_polls_are_answered_by_one_rendering(world: World) -> None:
    ask = Ask(("news",), Now(), Transport.LONG_POLLING, wait=25.0)
    connections = [RecordingConnection() for _ in range(READERS)]
    for connection in connections:
        assert long_polling.answer(world.hub, ask, connection) is None
    before = world.hub.stats.renderings
    world.publish("news", b"1")
    world.deliver()
    assert world.hub.stats.renderings - before == 1
    assert len({id(c.response) for c in connections}) == 1
    assert world.hub.cohorts.live == 0


@pytest.mark.parametrize("transport", [Transport.POLLING, Transport.LONG_POLLING])
def test_equal_questions_share_an_answer_until_the_next_message(world: World, transport: Transport) -> None:
    for n in range(100):
        world.publish("news", b"%d" % n)
    world.deliver()
    start = after(world.hub.places.cursor(10, ()))

    def ask() -> Response:
        asked = Ask(("news",), start, transport, wait=25.0)
        if transport is Transport.POLLING:
            return polling.answer(world.hub, asked, RecordingConnection())
        answered = long_polling.answer(world.hub, asked, RecordingConnection())
        assert answered is not None
        return answered

    first = ask()
    assert ask() is first
    assert world.hub.stats.delivered == 2 * 90
    world.publish("news", b"100")
    world.deliver()
    assert ask() is not first


def test_a_deadline_answers_one_waiter_and_no_other(world: World) -> None:
    asked = Ask(("news",), after(world.hub.places.cursor(0, ())), Transport.LONG_POLLING, wait=25.0)
    early, late = RecordingConnection(), RecordingConnection()
    assert long_polling.answer(world.hub, asked, early) is None
    assert early.exchange is not None
    early.exchange.expired()
    assert early.response is not None
    assert long_polling.answer(world.hub, asked, late) is None, "the empty answer was handed on"


def test_those_that_come_back_to_the_same_place_share_a_rendering(world: World) -> None:
    for n in range(100):
        world.publish("news", b"%d" % n)
    world.deliver()
    before = world.hub.stats.renderings
    for _ in range(READERS):
        connection = RecordingConnection()
        reader = EventStream(world.hub, ("news",), connection)
        reader.begin(Response(200), world.hub.places.locate(("news",), Earliest()))
        assert connection.writes == 2, "what is said first, and one joined write"
    assert world.hub.stats.renderings - before == 1


def test_a_reader_that_is_paused_within_its_catching_up_is_told_nothing_twice() -> None:
    world = World(Retention(), write_buffer=300)
    for n in range(12):
        world.publish("news", b'"%d %s"' % (n, b"x" * 90))
    world.deliver()
    connection = RecordingConnection()
    reader = EventStream(world.hub, ("news",), connection)
    reader.begin(Response(200), world.hub.places.locate(("news",), Earliest()))
    while world.hub.cohorts.live == 0:  # again and again, so that turns of its own are still to come
        connection.push_back()
        connection.take_again()
    world.publish("news", b'"last"')
    world.deliver()
    world.settle()
    assert b"".join(connection.written).count(b"\ndata: ") == 1 + 12 + 1
