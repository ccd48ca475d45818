"""Clients made of plain bytes: what the wire tests speak with, apart from tidings.client.

Owns: connections, HTTP/1.1 answers, event-stream blocks and WebSocket frames, as small as tests need them.
Does not own: what is said over them.
Invariant: nothing waits longer than PATIENCE, and `close_all` leaves no connection behind.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit import ServerProcess

PATIENCE = 15.0
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0

_open: "set[Wire]" = set()


@dataclass
class Answer:
    """One HTTP response. Header names are lower case; a repeated header is joined with commas."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def head_of(
    method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """Return a request's head, with Host, and with Content-Length where there is a body."""
    lines = [f"{method} {target} HTTP/1.1"]
    fields = {"Host": "tidings.test", **(headers or {})}
    if body is not None and "Transfer-Encoding" not in fields:
        fields.setdefault("Content-Length", str(len(body)))
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        _open.add(self)

    @classmethod
    async def connect(
        cls,
        server: ServerProcess,
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "Wire":
        """Connect to `server`, over TCP, TLS or its Unix socket.

        With `receive_buffer` bytes the client takes little more than that before it must be read.
        """
        if server.url.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(server.url.removeprefix("unix:")))
        if receive_buffer is None:
            return cls(*await asyncio.open_connection(server.host, server.port, ssl=tls))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (server.host, server.port))
        return cls(*await asyncio.open_connection(sock=sock, limit=receive_buffer))

    async def send(self, data: bytes) -> None:
        """Write `data` and wait until it has gone, or the server has."""
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def line(self) -> bytes:
        """Return one line with its end."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\n")

    async def exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def some(self, *, patience: float = PATIENCE) -> bytes:
        """Return what comes next; nothing at the end."""
        async with asyncio.timeout(patience):
            return await self.reader.read(65536)

    async def rest(self, *, patience: float = PATIENCE) -> bytes:
        """Return everything up to the end, which a reset is, too."""
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := await self.some(patience=patience):
                got += piece
        return got

    async def head(self) -> Answer:
        """Return an answer's status and headers."""
        status_line = await self.line()
        version, status, _ = status_line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers: dict[str, str] = {}
        while (line := await self.line()) != b"\r\n":
            assert line.endswith(b"\r\n")
            name, _, value = line.decode("latin-1").rstrip("\r\n").partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Answer(int(status), headers)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Return one whole answer; `to_head` when the question was HEAD."""
        answer = await self.head()
        if not to_head and answer.status not in (101, 204, 304):
            answer.body = await self.exactly(int(answer.headers["content-length"]))
        return answer

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request and return its answer."""
        await self.send(head_of(method, target, headers, body) + (body or b""))
        return await self.answer(to_head=method == "HEAD")

    def abort(self) -> None:
        """Drop the connection: what is unread resets it. Its end is sent in the next turn of the loop."""
        _open.discard(self)
        self.writer.transport.abort()

    async def close(self) -> None:
        """Drop the connection, and see its end sent: before whatever is sent next on another."""
        self.abort()
        await _closed()


async def _closed() -> None:
    """Wait for connection_lost, then for the transports' own closing."""
    for _ in range(3):
        await asyncio.sleep(0)


async def close_all() -> None:
    """Drop every connection that is still open."""
    for wire in list(_open):
        wire.abort()
    await _closed()


async def ask(
    server: ServerProcess,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send one request over a connection of its own."""
    wire = await Wire.connect(server)
    try:
        return await wire.ask(method, target, headers, body)
    finally:
        await wire.close()


async def exchange(server: ServerProcess, data: bytes) -> tuple[Answer, bool]:
    """Send `data` as it is; return the first answer, and whether the server then closes."""
    wire = await Wire.connect(server)
    try:
        await wire.send(data)
        answer = await wire.answer()
        if answer.headers.get("connection") != "close":
            return answer, False
        assert await wire.rest() == b""
        return answer, True
    finally:
        await wire.close()


async def metric(server: ServerProcess, name: str) -> float:
    """Return one figure of /metrics. The connection that asks is a connection, too."""
    return figure(await ask(server, "GET", "/metrics"), name)


def figure(answer: Answer, name: str) -> float:
    """Return one figure of what /metrics answered."""
    for line in answer.body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"/metrics has no {name}")


async def until_metric(server: ServerProcess, name: str, wanted: float) -> None:
    """Wait until a figure of /metrics is `wanted`."""
    async with asyncio.timeout(PATIENCE):
        while await metric(server, name) != wanted:  # noqa: ASYNC110  the condition is another process's
            await asyncio.sleep(0.01)


async def until_it_sticks(wire: Wire, server: ServerProcess) -> None:
    """Wait until `server` takes nothing more of what `wire` sends, or has taken it all and is idle again."""
    transport = wire.writer.transport
    async with asyncio.timeout(60):
        size, calm = transport.get_write_buffer_size(), 0
        while calm < 10 and not transport.is_closing():
            # An answer means that the server's loop has turned.
            assert (await ask(server, "GET", "/livez")).status == 200
            now = transport.get_write_buffer_size()
            calm = calm + 1 if now == size else 0
            size = now
            await asyncio.sleep(0.005)


# --- event streams ---------------------------------------------------------------------------------


class Stream:
    """A text/event-stream after its head: blocks of fields, one at a time."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._buffer = b""

    async def block(self) -> list[tuple[str, str]] | None:
        """Return the fields up to the next empty line, comments under the name ""; None at the end."""
        while b"\n\n" not in self._buffer:
            piece = await self.wire.some()
            if not piece:
                assert self._buffer == b"", "the stream ended within an event"
                return None
            self._buffer += piece
        block, _, self._buffer = self._buffer.partition(b"\n\n")
        assert b"\r" not in block, "a raw CR ends a line of an event stream"
        fields = []
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            fields.append((name, value.removeprefix(" ")))
        return fields


# --- WebSocket -------------------------------------------------------------------------------------


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    masked: bool = True,
    reserved: int = 0,
    mask: bytes | None = None,
) -> bytes:
    """Return a frame, as wrong as it is asked to be (RFC 6455 §5.2); a zero `mask` is quick."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, mask_bit | size))
    elif size < 65536:
        head = bytes((first, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    if mask == b"\0\0\0\0":
        return head + mask + payload
    mask = mask or os.urandom(4)
    # One big XOR: test bodies are up to megabytes.
    key = (mask * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return head + mask + body


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Socket:
    """A WebSocket: frames as they are."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @classmethod
    async def open(
        cls, wire: Wire, target: str = "/channels", headers: Mapping[str, str] | None = None
    ) -> "Socket":
        """Shake hands over `wire`."""
        await wire.send(head_of("GET", target, {**HANDSHAKE, **(headers or {})}))
        answer = await wire.head()
        assert answer.status == 101, answer
        digest = hashlib.sha1(
            f"{HANDSHAKE['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()
        )
        assert answer.headers["sec-websocket-accept"] == base64.b64encode(digest.digest()).decode()
        assert answer.headers["upgrade"].lower() == "websocket"
        assert answer.headers["connection"].lower() == "upgrade"
        return cls(wire)

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload; the server's are whole and unmasked."""
        first, second = await self.wire.exactly(2)
        assert first & 0xF0 == 0x80, "a server's frame is final, without reserved bits"
        assert second < 0x80, "a server's frame is not masked"
        size = second
        if second == 126:
            size = int.from_bytes(await self.wire.exactly(2), "big")
        elif second == 127:
            size = int.from_bytes(await self.wire.exactly(8), "big")
        return first & 0x0F, await self.wire.exactly(size)

    async def said(self) -> bytes:
        """Return the next text frame; pings are answered on the way."""
        while True:
            opcode, payload = await self.frame()
            if opcode == PING:
                await self.wire.send(frame(PONG, payload))
            else:
                assert opcode == TEXT, (opcode, payload)
                return payload

    async def closed(self) -> int:
        """Read to the close frame and the end of the connection; return the code."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                payload[2:].decode()
                assert await self.wire.rest() == b"", "nothing follows a close frame"
                return int.from_bytes(payload[:2], "big")

    async def command(self, word: str, value: object, ref: object = None) -> None:
        """Send one command."""
        fields = {word: value} if ref is None else {word: value, "ref": ref}
        await self.wire.send(frame(TEXT, json.dumps(fields).encode()))
