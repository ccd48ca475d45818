"""Connections of plain bytes for clients that live with breakage: HTTP answers, event streams, WebSockets.

Owns: reading what came whole, and dropping what came half. Does not own: what it means (subscribers.py).
Invariant: everything ends in a value, in Cut (the connection is of no more use) or in Malformed (the
server's fault).
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

import raw
from raw import CLOSE, HANDSHAKE, PING, PONG, TEXT, frame, head_of


class Cut(Exception):
    """The connection has ended, says nothing any more, or answers something that is not the server's."""


class Malformed(Exception):
    """The server said what the protocol does not know."""


@dataclass
class Answer:
    """One whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@asynccontextmanager
async def _patience(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Cut("nothing came for too long") from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Cut(f"{type(error).__name__}: {error}") from None


class Link:
    """One TCP connection. `patience` is the seconds that a single read may take."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.patience = 10.0
        self.local_port: int = writer.get_extra_info("sockname")[1]

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int | None = None) -> "Link":
        """Connect to `port` of this machine, or raise Cut. With a small buffer a stall is felt soon."""
        async with _patience(10):
            sock = socket.socket()
            try:
                if receive_buffer is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                return cls(*await asyncio.open_connection(sock=sock, limit=receive_buffer or 65536))
            except BaseException:
                sock.close()
                raise

    async def send(self, data: bytes) -> None:
        """Write `data`."""
        async with _patience(self.patience):
            if self.writer.is_closing():
                raise Cut("the connection is closed")
            self.writer.write(data)
            await self.writer.drain()

    async def exactly(self, size: int) -> bytes:
        """Return `size` bytes."""
        async with _patience(self.patience):
            return await self.reader.readexactly(size)

    async def through(self, end: bytes) -> bytes:
        """Return everything up to `end`, and it. An unended rest is dropped."""
        async with _patience(self.patience):
            whole = b""
            while True:
                try:
                    return whole + await self.reader.readuntil(end)
                except asyncio.LimitOverrunError as more:
                    # `end` may begin in what is there: that much is left.
                    whole += await self.reader.readexactly(more.consumed)

    async def answer(self) -> Answer:
        """Return the next whole answer."""
        answer = await self.head()
        if answer.status not in (101, 204, 304):
            try:
                size = int(answer.headers["content-length"])
            except (KeyError, ValueError):
                raise Cut(f"an answer {answer.status} without a length") from None
            answer.body = await self.exactly(size)
        return answer

    async def head(self) -> Answer:
        """Return the next answer's head."""
        lines = (await self.through(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if version != "HTTP/1.1" or not rest[:3].isdigit():
            raise Malformed(f"an answer begins with {lines[0]!r}")
        headers = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(int(rest[:3]), headers)

    async def ask(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request, and return its answer."""
        await self.send(head_of(method, target, headers, body) + (body or b""))
        return await self.answer()

    def close(self) -> None:
        """Half-close, and let go."""
        with contextlib.suppress(OSError):
            self.writer.close()

    def abort(self, *, reset: bool = False) -> None:
        """Drop the connection, by a RST where asked."""
        sock = self.writer.get_extra_info("socket")
        if reset and sock is not None and not self.writer.transport.is_closing():
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parsed(body: bytes) -> dict[str, msgspec.Raw]:
    """Return a JSON object's members, their bytes untouched."""
    try:
        return _members(body)
    except msgspec.DecodeError as error:
        raise Malformed(f"not a JSON object ({error}): {body[:300]!r}") from None


def raws(value: msgspec.Raw) -> list[bytes]:
    """Return the members of a JSON list, their bytes untouched."""
    return [bytes(one) for one in msgspec.json.decode(value, type=list[msgspec.Raw])]


class Events:
    """An event stream: one event at a time, as its fields (WHATWG HTML §9.2)."""

    def __init__(self, link: Link) -> None:
        self.link = link

    @classmethod
    async def open(cls, link: Link, target: str, headers: dict[str, str] | None = None) -> "Events":
        """Ask for a stream, and read its head. Raises Cut for any other answer."""
        await link.send(head_of("GET", target, {"Accept": "text/event-stream", **(headers or {})}))
        answer = await link.head()
        if answer.status != 200 or not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise Cut(f"no stream but {answer.status}")
        return cls(link)

    async def block(self) -> dict[str, str]:
        """Return the fields of the next block; a comment stands under the empty name."""
        text = (await self.link.through(b"\n\n"))[:-2].decode()
        fields: dict[str, str] = {}
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            if name in fields:
                raise Malformed(f"a field comes twice in an event: {text[:300]!r}")
            fields[name] = value.removeprefix(" ")
        return fields


class Closed(Cut):
    """The server's close frame came. `code` is its code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code} {reason}")
        self.code = code


class Socket:
    """A WebSocket: text messages, one at a time; pings are answered on the way."""

    def __init__(self, link: Link) -> None:
        self.link = link

    @classmethod
    async def open(cls, link: Link, target: str, headers: dict[str, str] | None = None) -> "Socket":
        """Shake hands. Raises Cut for any answer but 101."""
        await link.send(head_of("GET", target, {**HANDSHAKE, **(headers or {})}))
        answer = await link.head()
        if answer.status != 101:
            raise Cut(f"no WebSocket but {answer.status}")
        return cls(link)

    async def said(self) -> bytes:
        """Return the next text message's bytes."""
        while True:
            first, second = await self.link.exactly(2)
            if first & 0x70 or not first & 0x80 or second & 0x80:
                raise Malformed(f"a frame begins with {first:#x} {second:#x}")
            size = second
            if size == 126:
                size = int.from_bytes(await self.link.exactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.link.exactly(8), "big")
            payload = await self.link.exactly(size)
            match first & 0x0F:
                case opcode if opcode == TEXT:
                    return payload
                case opcode if opcode == PING:
                    await self.link.send(frame(PONG, payload))
                case opcode if opcode == PONG:
                    pass
                case opcode if opcode == CLOSE:
                    code = int.from_bytes(payload[:2], "big")
                    with contextlib.suppress(Cut):
                        await self.link.send(frame(CLOSE, payload[:2]))
                    raise Closed(code, payload[2:].decode())
                case opcode:
                    raise Malformed(f"a frame of opcode {opcode}")

    async def say(self, word: str, value: Any, ref: object = None) -> None:
        """Send a command."""
        fields = {word: value} if ref is None else {word: value, "ref": ref}
        await self.link.send(frame(TEXT, json.dumps(fields).encode()))

    async def say_raw(self, text: bytes) -> None:
        """Send a command that is JSON already."""
        await self.link.send(frame(TEXT, text))

    async def bye(self) -> None:
        """Send a close frame."""
        await self.link.send(frame(CLOSE, (1000).to_bytes(2, "big")))


async def figures(port: int) -> dict[str, float]:
    """Return the figures of /metrics that have no labels."""
    link = await Link.open(port)
    try:
        answer = await link.ask("GET", "/metrics")
    finally:
        link.abort()
    lines = [line.split() for line in answer.body.decode().splitlines() if line.startswith("tidings_")]
    return {words[0]: float(words[1]) for words in lines}


def backoff(chance: random.Random, failures: int) -> float:
    """Return how long to wait before coming back, in seconds; less than in the field, as runs are short."""
    return chance.random() * min(0.05 * 2.0**failures, 0.8)


__all__ = ["Answer", "Closed", "Cut", "Events", "Link", "Malformed", "Socket", "backoff", "figures", "raw"]
