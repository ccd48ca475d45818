"""What servers without a dialect say: frames, events and answers, whole and broken.

Owns: those scripts, and the bytes that all scripts are made of. Does not own: how they are said
(scripted.py).
"""

import time
from collections.abc import Sequence

from harness.servers import LONG_POLLING, POLLING, SSE, WEBSOCKET

from checks.scripted import UPGRADED, Life, Line, Script

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: "e-1"\r\nContent-Length: 20\r\n\r\n'


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a frame of a server; `first` holds its opcode and its bits."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def data(size: int) -> bytes:
    """Return what a publisher publishes, padded."""
    return b'{"due":"%019d","pad":"%b"}' % (time.monotonic_ns(), b"x" * size)


def message(size: int, number: int = 1) -> bytes:
    """Return a WebSocket message of Tidings with the id e-NUMBER."""
    return b'{"message":{"id":"e-%d","data":%b}}' % (number, data(size))


def event(size: int, end: bytes = b"\n", number: int = 1) -> bytes:
    """Return an event of Tidings with the id e-NUMBER."""
    return b"id: e-%d%bdata: %b%b%b" % (number, end, data(size), end, end)


def chunk(content: bytes) -> bytes:
    """Return a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def ok(body: bytes, headers: bytes = b"") -> bytes:
    """Return a whole answer."""
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (headers, len(body), body)


def answer(messages: int, cursor: int, *, more: bool = False) -> bytes:
    """Return the body of Tidings' answer to a poll, which ends at the cursor e-CURSOR."""
    listed = b",".join(b'{"data":%b}' % data(9) for _ in range(messages))
    return b'{"messages":[%b],"cursor":"e-%d"%b}' % (listed, cursor, b',"more":true' if more else b"")


def one(*said: bytes) -> Sequence[Life]:
    """Return a single life, in which anything may be asked."""
    return [[Line(line) for line in said]]


_FRAMES = (
    frame(b'{"ready":{}}'),
    frame(message(5)),
    frame(message(300)),
    frame(b"are you there", 0x89),
    frame(message(70_000)),
    frame(message(200)[:30], 0x01),
    frame(b"x" * 5, 0x80),
)
_EVENTS = (
    b"retry: 1000\n\n",
    b"id: 0\nevent: ready\ndata: {}\n\n",
    b":\n\n",
    event(5),
    event(3000),
    event(40, b"\r\n"),
    b"event: price\ndata: {}\n\n",
)


def _chunked_anywhere() -> bytes:
    content = b"".join(_EVENTS)
    sizes = (1, 2, 3, 5, 40)
    pieces: list[bytes] = []
    at = 0
    while at < len(content):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(chunk(content[at : at + size]))
        at += size
    return b"".join(pieces)


SCRIPTS = {
    "frames": Script(WEBSOCKET, lambda: one(UPGRADED + b"".join(_FRAMES)), {"messages": 4, "others": 2}),
    "events": Script(SSE, lambda: one(STREAM + b"".join(_EVENTS)), {"messages": 4, "others": 3}),
    "events in chunks": Script(
        SSE, lambda: one(CHUNKED + b"".join(map(chunk, _EVENTS))), {"messages": 4, "others": 3}
    ),
    "events in chunks cut anywhere": Script(
        SSE, lambda: one(CHUNKED + _chunked_anywhere()), {"messages": 4, "others": 3}
    ),
    "chunks that end": Script(
        SSE,
        lambda: one(CHUNKED + chunk(event(5)) + b"0\r\n\r\n"),
        {"messages": 1},
        error="the server ended the stream",
    ),
    "answers": Script(
        LONG_POLLING,
        lambda: [
            [
                Line(ok(answer(1, 1)), b"GET /channels/x HTTP"),
                Line(ok(answer(0, 1)), b"?after=e-1 "),
                Line(CHUNKED + chunk(answer(3, 4)[:50]) + chunk(answer(3, 4)[50:]) + b"0\r\n\r\n"),
                Line(b"", b"?after=e-4 "),
            ]
        ],
        {"messages": 4, "empties": 1, "answers": 3},
    ),
    "polls": Script(
        POLLING,
        lambda: [
            [
                Line(ok(answer(0, 1)), b"GET /channels/x HTTP"),
                Line(UNCHANGED, b'If-None-Match: "e-1"\r\n'),
                Line(NOTHING, b"?after=e-1 "),
                Line(ok(answer(2, 3)), b"?after=e-1 "),
                Line(ok(answer(3, 6)), b"?after=e-3 "),
            ]
        ],
        {"messages": 5, "empties": 3, "answers": 5, "requests": 6},
        resume="cursor+etag",
        rearm=0.05,
        slices=(7, 100_000),
    ),
    "polls, cut short by a limit": Script(
        POLLING,
        lambda: [[Line(ok(answer(300, 300, more=True))), Line(ok(answer(2, 302)), b"?after=e-300 ")]],
        {"messages": 302},
        rearm=3_000.0,  # who rests in between comes too late
    ),
    "refused": Script(WEBSOCKET, lambda: one(BUSY), {"messages": 0}, error="answer 503, not 101"),
    "refused poll": Script(LONG_POLLING, lambda: one(BUSY), {"messages": 0}, error="answer 503 to a poll"),
    "closed": Script(
        WEBSOCKET,
        lambda: one(UPGRADED + frame(message(5)) + frame(b"\x0f\xa0", 0x88)),
        {"messages": 1},
        error="server closed the WebSocket with code 4000",
    ),
    "broken off": Script(
        SSE,
        lambda: one(STREAM + event(5) + b"data: half"),
        {"messages": 1},
        error="closed by the server in the middle",
    ),
    "reset": Script(
        WEBSOCKET,
        lambda: one(UPGRADED + frame(message(5))),
        {"messages": 1},
        error="read: Connection reset",
        reset=True,
    ),
}
