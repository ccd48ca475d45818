"""What the kernel does not take, or takes in part, reaches its reader whole and costs no other one."""

import pytest

from hub_model import RecordingConnection, World
from tidings.core.history import Retention
from tidings.core.start import Now
from tidings.transports.web_socket import WebSocket
from tidings.wire.http import Response


@pytest.mark.parametrize("size", range(30))
def test_a_kernel_that_takes_less_is_given_the_rest(size: int) -> None:
    world = World(Retention(), write_buffer=64 * 1024)
    connections = []
    for _ in range(5):
        connection = RecordingConnection()
        exchange = WebSocket(world.hub, ("news",), connection)
        exchange.begin(Response(200), world.hub.places.locate(("news",), Now()))
        connection.written.clear()
        connections.append(connection)
    connections[1].push_back_after = connections[3].push_back_after = 1
    world.publish("news", b'"%b"' % (b"x" * size))
    world.deliver()
    first = b"".join(connections[0].written)
    assert first
    assert [b"".join(c.written) for c in connections] == [first] * 5
    assert [c.pushed_back for c in connections] == [False, True, False, True, False]


def test_a_connection_that_breaks_is_found_out_by_its_own_write() -> None:
    world = World(Retention(), write_buffer=64 * 1024)
    connections = []
    for _ in range(3):
        connection = RecordingConnection()
        exchange = WebSocket(world.hub, ("news",), connection)
        exchange.begin(Response(200), world.hub.places.locate(("news",), Now()))
        connection.written.clear()
        connections.append(connection)
    connections[1].breaks = True
    world.publish("news", b"1")
    world.deliver()
    assert [len(c.written) for c in connections] == [1, 0, 1]
    assert connections[1].writes_refused == 1
