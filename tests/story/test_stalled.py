"""A client that stops reading is an old cursor, not a growing queue (promise 4)."""

import asyncio
from itertools import pairwise

import pytest

import raw
from kit import ServerProcess
from raw import Wire
from story.clients import Client, connect, position

CHANNEL = "flood"
KEPT = 1_000
FLOOD = 100_000
CONNECTIONS = 4


class Flood:
    """Publishes numbered messages of 1 kB as fast as they are taken, over several WebSockets."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.number = 0
        self._sockets: list[raw.Socket] = []

    async def publish(self, count: int) -> None:
        """Publish `count` messages; return when all are acknowledged."""
        while len(self._sockets) < CONNECTIONS:
            socket = await raw.Socket.open(await Wire.connect(self._server))
            await socket.said()
            self._sockets.append(socket)
        share = count // CONNECTIONS
        async with asyncio.TaskGroup() as tasks:
            for socket in self._sockets:
                tasks.create_task(self._publish(socket, share))

    async def _publish(self, socket: raw.Socket, count: int) -> None:
        filler = "x" * 985
        for _ in range(0, count, 50):
            # One write, fifty acknowledgements.
            frames = []
            for _ in range(50):
                self.number += 1
                data = f'{{"publish":{{"channel":"{CHANNEL}","data":"{self.number:09}:{filler}"}}}}'
                frames.append(raw.frame(raw.TEXT, data.encode(), mask=bytes(4)))
            await socket.wire.send(b"".join(frames))
            for _ in range(50):
                assert (await socket.said()).startswith(b'{"ok":')


class Counter:
    """A client that reads all the time, and only looks at ids: it must keep up with the flood."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.count = 0
        self.last = 0

    async def open(self, path: str) -> None:
        """Begin to listen."""
        self._wire = await Wire.connect(self._server)
        if path == "sse":
            await self._wire.send(raw.head_of("GET", f"/channels/{CHANNEL}", {"Accept": "text/event-stream"}))
            await self._wire.head()
            self._mark = b"\ndata: {"
        else:
            socket = await raw.Socket.open(self._wire, f"/channels/{CHANNEL}")
            await socket.said()
            self._mark = b'{"message":{'

    async def listen(self) -> None:
        """Count messages until the end, and see that none is left out: their ids are one apart."""
        left = b""
        while piece := await self._wire.some():
            left += piece
            *whole, left = left.split(self._mark)
            for piece in whole:
                start = piece.rfind(b'"id":"')
                if start < 0:
                    continue
                number = int(piece[start + 6 : piece.index(b'"', start + 6)].rpartition(b"-")[2])
                assert not self.last or number == self.last + 1
                self.last = number
                self.count += 1


async def read_to(client: Client, number: int) -> None:
    """Let `client` read until it has the message with that number."""
    async with asyncio.timeout(60):
        while not client.messages or int(client.messages[-1]["data"][:9]) < number:
            await client.step()


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_two_readers_that_stop_cost_less_than_a_mebibyte_and_are_told_what_they_missed(
    server: ServerProcess,
) -> None:
    flood = Flood(server)
    neighbour_sse, neighbour_socket = Counter(server), Counter(server)
    await neighbour_sse.open("sse")
    await neighbour_socket.open("websocket")
    listening = [asyncio.create_task(one.listen()) for one in (neighbour_sse, neighbour_socket)]
    stalled = [
        await connect(server, transport, CHANNEL, receive_buffer=8192) for transport in ("sse", "websocket")
    ]
    # What so many messages cost the server when everyone reads, as well as they can: fill the history.
    reading = [asyncio.create_task(read_to(client, 12_000)) for client in stalled]
    await flood.publish(12_000)
    await asyncio.gather(*reading)
    for client in stalled:
        client.items.clear()
    before = server.memory()

    await flood.publish(FLOOD)

    grown = server.memory() - before
    assert grown < 1024 * 1024, f"{grown} bytes"
    last = flood.number
    for client in stalled:
        await read_to(client, last)
        ids = [position(message["id"]) for message in client.messages]
        assert all(one < other for one, other in pairwise(ids))
        # One hole, told by a gap that covers it, and behind it all that the window still holds.
        [where] = [number for number, item in enumerate(client.items) if item.kind == "gap"]
        gap = client.items[where].value
        assert gap["reason"] == "retention"
        assert 0 < where < 2_000, "what was on its way when the client stopped"
        assert gap["after"] == client.items[where - 1].value["id"]
        assert position(gap["resumed"]) == position(client.items[where + 1].value["id"]) - 1
        assert len(client.items) - where - 1 == KEPT
    await flood.publish(100)
    for client in stalled:
        await read_to(client, last + 100)
        ids = [position(message["id"]) for message in client.messages]
        assert ids[-101:] == list(range(ids[-1] - 100, ids[-1] + 1))
        assert len(client.gaps) == 1
    neighbours = (neighbour_sse, neighbour_socket)
    async with asyncio.timeout(60):
        # The last one stays within a reader until the next begins.
        while min(one.count for one in neighbours) < flood.number - 1:
            assert not any(task.done() for task in listening), listening
            await asyncio.sleep(0.01)
    await raw.close_all()
    await asyncio.gather(*listening)
