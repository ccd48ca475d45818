"""One client over four transports: it keeps a cursor, and collects messages and gaps.

Owns: what a client does by the protocol, and the promises that hold on each connection: an id comes once, and
ids rise strictly. Does not own: bytes (raw.py).
Invariant: `cursor` is the client's whole state; another client that is given it goes on where this one is.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

import raw
from kit import ServerProcess
from raw import Answer, Socket, Stream, Wire

TRANSPORTS = ("polling", "long-polling", "sse", "websocket")


def position(cursor: str) -> int:
    """Return the number in a cursor: clients must not look, tests may."""
    return int(cursor.rpartition("-")[2])


def epoch(cursor: str) -> str:
    """Return which life of the log a cursor is of."""
    return cursor.partition("-")[0]


def places(cursor: str) -> dict[int, int]:
    """Return the position in each partition that a cursor speaks of; without partitions there is one."""
    parts = [part.rpartition(".") for part in cursor.split("-")[1:]]
    return {int(partition or 0): int(position) for partition, _, position in parts}


@dataclass(frozen=True)
class Item:
    """A message or a gap, in the order in which it came. `text` is the JSON as it stood on the wire."""

    kind: str
    value: dict[str, Any]
    text: bytes = b""


class Client:
    """What the four have in common."""

    transport: ClassVar[str]

    def __init__(
        self,
        server: ServerProcess,
        *channels: str,
        cursor: str | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.server = server
        self.channels = channels
        self.cursor = cursor or ""
        self.items: list[Item] = []
        self._query = {**({"after": cursor} if cursor else {}), **(query or {})}
        self._headers = headers or {}
        self._receive_buffer = receive_buffer
        self._taken = 0
        self._last_id = ""

    @property
    def target(self) -> str:
        """The URL that the client begins with."""
        query = f"?{urlencode(self._query)}" if self._query else ""
        return f"/channels/{','.join(self.channels)}{query}"

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """The gaps that were told so far."""
        return [item.value for item in self.items if item.kind == "gap"]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that came so far."""
        return [item.value for item in self.items if item.kind == "message"]

    async def open(self) -> "Client":
        """Connect, and wait until the server has said where the client stands."""
        raise NotImplementedError

    async def step(self) -> None:
        """Wait for what comes next, and take it. Polls ask once."""
        raise NotImplementedError

    async def take(self, count: int) -> list[dict[str, Any]]:
        """Return the next `count` messages."""
        async with asyncio.timeout(raw.PATIENCE):
            while len(self.messages) - self._taken < count:
                await self.step()
        self._taken += count
        return self.messages[self._taken - count : self._taken]

    async def data(self, count: int) -> list[Any]:
        """Return the data of the next `count` messages."""
        return [message["data"] for message in await self.take(count)]

    def abort(self) -> None:
        """Drop the connection."""
        raise NotImplementedError

    def _message(self, text: bytes) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(text)
        if self._last_id and epoch(self._last_id) == epoch(value["id"]):
            before, now = places(self._last_id), places(value["id"])
            assert before != now, "ids rise strictly on a connection"
            assert all(now[partition] >= before[partition] for partition in before), "no place goes back"
        self._last_id = value["id"]
        assert value["channel"] in self.channels
        self.items.append(Item("message", value, text))
        return value

    def _gap(self, value: dict[str, Any]) -> None:
        assert value["channel"] in self.channels
        assert list(value) == ["channel", "after", "resumed", "reason"]
        self.items.append(Item("gap", value))


class _Asking(Client):
    """Polling and long-polling: one question after the other over one connection."""

    _wait: ClassVar[dict[str, str]]

    async def open(self) -> "Client":
        self._wire = await Wire.connect(self.server, receive_buffer=self._receive_buffer)
        # The first question of both is answered at once: it finds the place.
        self._query["transport"] = self.transport
        await self.send_question(wait="0" if self.transport == "long-polling" else None)
        self._read(await self._wire.answer())
        self._headers.pop("Last-Event-ID", None)
        return self

    async def send_question(self, *, wait: str | None = None) -> None:
        """Ask, without reading the answer."""
        if wait is not None:
            self._query["wait"] = wait
        await self._wire.send(raw.head_of("GET", self.target, self._headers))

    async def step(self) -> None:
        for begin in ("rewind", "after"):
            self._query.pop(begin, None)
        self._query |= {"after": self.cursor, **self._wait}
        await self.send_question()
        before = len(self.items)
        self._read(await self._wire.answer())
        if self.transport == "polling" and len(self.items) == before:
            await asyncio.sleep(0.02)  # the polling interval

    def _read(self, answer: Answer) -> None:
        assert answer.status == 200, answer
        value = answer.json
        assert list(value)[:2] == ["messages", "cursor"]
        assert set(value) <= {"messages", "cursor", "gap", "more", "advice"}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["etag"] == f'"{value["cursor"]}"'
        for gap in value.get("gap", ()):
            self._gap(gap)
            self._last_id = ""
        # The data as it stood on the wire: cut out of the body between the envelopes.
        rest = answer.body
        for message in value["messages"]:
            start = rest.index(f'{{"id":"{message["id"]}"'.encode())
            end = _end_of_object(rest, start)
            assert self._message(rest[start:end]) == message
            rest = rest[end:]
        if value["messages"]:
            assert value["cursor"] == value["messages"][-1]["id"]
        self.cursor = value["cursor"]

    def abort(self) -> None:
        self._wire.abort()


class Polling(_Asking):
    """Asks every 20 ms."""

    transport = "polling"
    _wait: ClassVar[dict[str, str]] = {}


class LongPolling(_Asking):
    """Asks, and waits for the answer."""

    transport = "long-polling"
    _wait: ClassVar[dict[str, str]] = {"wait": "10"}


class EventStream(Client):
    """What a browser's EventSource does: its cursor is the last `id:` it saw."""

    transport = "sse"

    async def open(self) -> "Client":
        self._wire = await Wire.connect(self.server, receive_buffer=self._receive_buffer)
        await self._wire.send(
            raw.head_of("GET", self.target, {"Accept": "text/event-stream", **self._headers})
        )
        answer = await self._wire.head()
        assert answer.status == 200, answer
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        self._stream = Stream(self._wire)
        assert await self._stream.block() == [("retry", "1000")]
        ready = await self._stream.block()
        assert ready is not None
        fields = dict(ready)
        assert fields["event"] == "ready"
        self.ready = json.loads(fields["data"])
        assert list(self.ready) == ["cursor", "channels"]
        if "id" in fields:
            assert fields["id"] == self.ready["cursor"]
            self.cursor = fields["id"]
        return self

    async def step(self) -> None:
        block = await self._stream.block()
        if block is None:
            raise EOFError
        fields = dict(block)
        assert len(fields) == len(block), "each field stands once in an event"
        if "data" not in fields:
            assert set(fields) <= {"", "retry"}
            return
        if fields.get("event") == "gap":
            self._gap(json.loads(fields["data"]))
            self._last_id = ""
        elif fields.get("event") in ("advice", "end"):
            self.items.append(Item(fields["event"], json.loads(fields["data"])))
        else:
            message = self._message(fields["data"].encode())
            assert fields["id"] == message["id"]
            assert fields.get("event") == message.get("event")
        self.cursor = fields.get("id", self.cursor)

    def abort(self) -> None:
        self._wire.abort()


class WebSocket(Client):
    """One socket, and commands on it."""

    transport = "websocket"

    async def open(self) -> "Client":
        self._wire = await Wire.connect(self.server, receive_buffer=self._receive_buffer)
        target = self.target if self.channels else "/channels"
        self.socket = await Socket.open(self._wire, target, self._headers)
        ready = json.loads(await self.socket.said())
        assert list(ready) == ["ready"]
        self.ready = ready["ready"]
        assert list(self.ready) == ["cursor", "channels"]
        self.cursor = self.ready["cursor"]
        self._moved = False
        return self

    async def step(self) -> None:
        self._read(await self.socket.said())

    def _read(self, text: bytes) -> None:
        value = json.loads(text)
        kind = next(iter(value))
        if kind == "message":
            assert text.startswith(b'{"message":')
            assert text.endswith(b"}")
            self.cursor = self._message(text[len(b'{"message":') : -1])["id"]
        elif kind == "gap":
            gap = value["gap"]
            self._gap(gap)
            if gap["reason"] != "retention":
                known = epoch(self.cursor) == epoch(gap["resumed"]) and self._moved
                self.cursor = min(self.cursor, gap["resumed"], key=position) if known else gap["resumed"]
                self._moved = True
        else:
            self.items.append(Item(kind, value))

    async def command(self, word: str, value: object, ref: object = None) -> dict[str, Any]:
        """Send a command, and return its answer; what comes before it is taken on the way."""
        await self.socket.command(word, value, ref)
        before = len(self.items)
        async with asyncio.timeout(raw.PATIENCE):
            while not any(item.kind in ("ok", "error") for item in self.items[before:]):
                await self.step()
        answer = self.items.pop().value
        assert answer.get("ref") == ref
        return answer

    async def subscribe(self, *channels: str, **start: object) -> dict[str, Any]:
        """Hear `channels`, too; the client stands where the answer says."""
        self.channels = tuple({*self.channels, *channels})
        answer = await self.command("subscribe", {"channels": list(channels), **start}, "subscribe")
        if "ok" in answer:
            self.cursor = answer["ok"]["cursor"]
            self._last_id = ""  # an older cursor takes the ids back; from there they rise again
        return answer

    def abort(self) -> None:
        self._wire.abort()


_KINDS: dict[str, type[Client]] = {
    kind.transport: kind for kind in (Polling, LongPolling, EventStream, WebSocket)
}


async def connect(
    server: ServerProcess,
    transport: str,
    *channels: str,
    cursor: str | None = None,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    receive_buffer: int | None = None,
) -> Client:
    """Return a client over `transport` that stands where it asked to stand."""
    kind = _KINDS[transport]
    client = kind(
        server, *channels, cursor=cursor, query=query, headers=headers, receive_buffer=receive_buffer
    )
    return await client.open()


class Publisher:
    """Publishes over one HTTP connection."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._wire: Wire | None = None

    async def post(
        self,
        channels: str,
        data: object = None,
        *,
        body: bytes | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Publish `data` as JSON, or `body` as it is."""
        if self._wire is None:
            self._wire = await Wire.connect(self._server)
        if body is None:
            body = json.dumps(data).encode()
        fields = {"Content-Type": "application/json", **(headers or {})}
        return await self._wire.ask("POST", f"/channels/{channels}{query}", fields, body)

    async def say(self, channels: str, *data: object) -> list[str]:
        """Publish each of `data`, and return the ids."""
        answers = [await self.post(channels, one) for one in data]
        assert all(answer.status == 201 for answer in answers)
        return [answer.json["id"] for answer in answers]

    async def flood(self, channel: str, bodies: list[bytes], *, window: int = 50) -> list[str]:
        """Publish all of `bodies`, `window` requests at a time in one write; return the ids."""
        wire = await Wire.connect(self._server)
        ids = []
        for start in range(0, len(bodies), window):
            batch = bodies[start : start + window]
            await wire.send(
                b"".join(
                    raw.head_of("POST", f"/channels/{channel}", {"Content-Type": "application/json"}, body)
                    + body
                    for body in batch
                )
            )
            for _ in batch:
                answer = await wire.answer()
                assert answer.status == 201, answer
                ids.append(answer.json["id"])
        wire.abort()
        return ids


def _end_of_object(text: bytes, start: int) -> int:
    """Return where the JSON object ends that begins at `start`."""
    source = text[start:].decode()
    _value, end = json.JSONDecoder().raw_decode(source)
    return start + len(source[:end].encode())
