"""A client that stops reading is an old cursor, not a growing queue (promise 4)."""

import asyncio
import json

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
        self._number = 0
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
                self._number += 1
                data = f'{{"publish":{{"channel":"{CHANNEL}","data":"{self._number:09}:{filler}"}}}}'
                frames.append(raw.frame(raw.TEXT, data.encode()))
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
        """Count messages for ever, and see that none is left out: their ids are one apart."""
        left = b""
        while True:
            left += await self._wire.some()
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
    async with asyncio.timeout(30):
        while not client.messages or int(client.messages[-1]["data"][:9]) < number:
            await client.step()


@pytest.mark.slow
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
    # Let them read until the history is full, so that what is measured is what comes on top.
    await flood.publish(2_000)
    full = flood._number
    for client in stalled:
        await read_to(client, full)
    # Without stalled readers: what so many messages cost the server anyway.
    reading = [asyncio.create_task(read_to(client, full + 10_000)) for client in stalled]
    await flood.publish(10_000)
    await asyncio.gather(*reading)
    before = server.memory()

    await flood.publish(FLOOD)

    grown = server.memory() - before
    assert grown < 1024 * 1024, f"{grown} bytes"
    last = flood._number
    for client in stalled:
        seen = len(client.messages)
        await read_to(client, last)
        numbers = [int(message["data"][:9]) for message in client.messages]
        ids = [position(message["id"]) for message in client.messages]
        assert len(set(ids)) == len(ids)
        assert ids == sorted(ids)
        # One hole, told by a gap that covers it, and behind it all that the window still holds.
        [gap] = client.gaps
        assert gap["reason"] == "retention"
        where = next(n for n, item in enumerate(client.items) if item.kind == "gap")
        before_gap = [m for m in client.items[:where] if m.kind == "message"]
        after_gap = [m for m in client.items[where:] if m.kind == "message"]
        assert gap["after"] == before_gap[-1].value["id"]
        assert position(gap["resumed"]) == position(after_gap[0].value["id"]) - 1
        assert len(after_gap) == KEPT, (len(after_gap), seen)
        assert numbers[-1] == last
        await flood.publish(100)
        await read_to(client, flood._number)
        assert [int(m["data"][:9]) for m in client.messages[-100:]] == sorted(
            range(flood._number - 99, flood._number + 1)
        )
        last = flood._number
    async with asyncio.timeout(20):
        while min(neighbour_sse.count, neighbour_socket.count) < last - 1:
            await asyncio.sleep(0.01)
    for task in listening:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert json.loads((await raw.ask(server, "GET", f"/channels/{CHANNEL}?rewind=1")).body)["messages"]
