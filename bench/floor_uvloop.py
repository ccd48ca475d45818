"""The floor of an event loop in Python: uvloop, and for a message `for t in transports: t.write(frame)`.

Owns: the minimum of WebSocket and Server-Sent Events on /channels/NAME, with bytes of the same size as
Tidings sends. Does not own: history, limits, checks of input, heartbeats; it is a yardstick and no server.
Invariant: one write per subscriber and message, nothing joined.

usage: python bench/floor_uvloop.py --port PORT [--epoch EPOCH]
"""

import argparse
import asyncio
import gc
import time
from typing import cast

import uvloop

# The accept key of the one key that the generator sends: RFC 6455's own example.
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n"
    b"X-Accel-Buffering: no\r\n\r\n"
)


class Floor:
    """All subscribers, in one set for each transport, and the number of the last message."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.position = 0
        self.web_sockets: set[asyncio.Transport] = set()
        self.streams: set[asyncio.Transport] = set()

    def publish(self, name: bytes, data: bytes) -> bytes:
        """Send one message to everyone, and return the answer to its publisher."""
        self.position += 1
        identity = b"%b-%d" % (self.epoch.encode(), self.position)
        envelope = b'{"id":"%b","channel":"%b","time":%d,"data":%b}' % (
            identity,
            name,
            time.time_ns() // 1_000_000,
            data,
        )
        payload = b'{"message":%b}' % envelope
        size = len(payload)
        head = b"\x81" + (bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big"))
        frame = head + payload
        for transport in self.web_sockets:
            transport.write(frame)
        event = b"id: %b\ndata: %b\n\n" % (identity, envelope)
        for transport in self.streams:
            transport.write(event)
        said = b'{"id":"%b","durability":"memory"}' % identity
        return b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(said),
            said,
        )


class Connection(asyncio.Protocol):
    """One connection: requests until it becomes a subscriber, then nothing is read any more."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.buffer = b""
        self.subscribed: set[asyncio.Transport] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the requests that are complete."""
        if self.subscribed is not None:
            return  # pongs and the like
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            body = end + 4
            if (at := head.find(b"content-length:")) >= 0:
                body += int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < body:
                return
            request, self.buffer = self.buffer[:body], self.buffer[body:]
            if request.startswith(b"POST "):
                name = request.split(b" ", 2)[1].removeprefix(b"/channels/").split(b"?", 1)[0]
                self.transport.write(self.floor.publish(name, request[end + 4 :]))
            elif b"upgrade: websocket" in head:
                self.transport.write(_UPGRADED)
                self.subscribed = self.floor.web_sockets
            elif b"accept: text/event-stream" in head:
                self.transport.write(_STREAM)
                self.subscribed = self.floor.streams
            else:
                self.transport.close()
            if self.subscribed is not None:
                self.subscribed.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — the loop's signature
        """Leave."""
        if self.subscribed is not None:
            self.subscribed.discard(self.transport)


async def serve(port: int, epoch: str) -> None:
    """Serve until killed."""
    floor = Floor(epoch)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(floor), "127.0.0.1", port, backlog=4096)
    gc.collect()
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="The floor of an event loop in Python.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--epoch", default="9f3k")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.epoch))


if __name__ == "__main__":
    main()
