"""Publishers that log what was acknowledged, over HTTP and WebSocket, straight and through the proxy.

Owns: what is published when, and asking again after a lost answer. Does not own: whether the answers were
true.
Invariant: a publisher's next message is first sent when the one before was acknowledged, given up, or
sent before it on the same connection; what may have got through is sent again only under its idempotency
key.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from exactness.book import Book, Sent, checksum
from exactness.links import Cut, Link, Malformed, Socket, backoff
from raw import head_of

_PAD = "The quick brown fox jumps over the lazy dog. Zwölf Boxkämpfer jagen Viktor. 漢字😀 "


_IN_FLIGHT = 30  # messages sent on one connection before their answers are read


@dataclass(eq=False)
class _Outgoing:
    sent: Sent
    body: bytes
    event: str | None = None

    def publication(self) -> bytes:
        """Return the message as a command and a line of a batch say it."""
        named = {"event": self.event, "key": self.sent.state, "idempotency_key": self.sent.key}
        rest = "".join(f',"{name}":"{value}"' for name, value in named.items() if value is not None)
        return b'{"channel":"%b","data":%b%b}' % (self.sent.channels[0].encode(), self.body, rest.encode())


class Publisher:
    """One publisher. `door` is the port of its own door in the proxy, `ports` the servers'.

    `rate` is messages a second, `burst` how many are sent at once now and then, `sizes` bounds their bytes.
    `durability` is what every receipt must say.
    """

    def __init__(
        self,
        book: Book,
        name: str,
        seed: int | str,
        channels: tuple[str, ...],
        *,
        ports: Sequence[int],
        door: int,
        rate: float,
        burst: int,
        sizes: tuple[int, int] = (0, 20_000),
        durability: str = "memory",
    ) -> None:
        self.name = name
        self.number = 0
        self.given_up = 0
        self._book = book
        self._seed = seed
        self._channels = channels
        self._ports = ports
        self._door = door
        self._rate = rate
        self._burst = burst
        self._sizes = sizes
        self._durability = durability
        self._link: Link | None = None
        self._socket: Socket | None = None
        self._backoffs = random.Random(f"{seed}/{name}/backoffs")

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set."""
        turn = 0
        try:
            while not stop.is_set():
                turn += 1
                chance = random.Random(f"{self._seed}/{self.name}/{turn}")
                road, straight = chance.choice(("http", "batch", "websocket")), chance.random() < 0.4
                length = chance.randint(1, 60)
                for _ in range(length):
                    if stop.is_set():
                        break
                    count = 1
                    if chance.random() < 0.08:
                        count = chance.randint(2, max(2, self._burst))
                    batch = [self._make(chance, road=road, straight=straight) for _ in range(count)]
                    last = batch[-1]
                    await self._deliver(batch, road=road, straight=straight, stop=stop)
                    if chance.random() < 0.05 and last.sent.key is not None and last.sent.acks:
                        # Once more on purpose: the same id must come, and nothing new.
                        await self._deliver([last], road=road, straight=straight, stop=stop)
                    await asyncio.sleep(chance.expovariate(self._rate))
                self._hang_up()
        finally:
            self._hang_up()

    def _make(self, chance: random.Random, *, road: str, straight: bool) -> _Outgoing:
        self.number += 1
        several = road == "http" and chance.random() < 0.1
        channels = tuple(chance.sample(self._channels, min(3, len(self._channels)) if several else 1))
        size = int(chance.choice((10, 100, 100, 1_000, 4_000, 20_000)) * chance.random())
        size = max(self._sizes[0], min(self._sizes[1], size))
        pad = (_PAD * (size // len(_PAD) + 1))[:size]
        # The publisher's own spelling must stay: spaces, escapes, number formats.
        text = json.dumps(pad, ensure_ascii=chance.random() < 0.3)
        body = (
            f'{{"p": "{self.name}","n":{self.number},  "pad":{text},"x":1.50e+2,'
            f'"sum":{checksum(self.name, self.number, pad)}}}'
        ).encode()
        # Straight to the server an answer is lost only when the server dies. Without a key what was
        # then sent is never sent again.
        keyed = not straight or chance.random() < 0.5
        sent = Sent(
            self.name,
            self.number,
            channels,
            hash(body),
            f"{self.name}/{self.number}" if keyed else None,
            f"value-{self.number % 3}" if any(c.startswith("state.") for c in channels) else None,
        )
        self._book.sent[self.name, self.number] = sent
        return _Outgoing(sent, body, f"kind.{self.number % 3}" if chance.random() < 0.2 else None)

    async def _deliver(
        self, batch: list[_Outgoing], *, road: str, straight: bool, stop: asyncio.Event
    ) -> None:
        """Send `batch` in order until all of it is acknowledged, or given up."""
        failures = 0
        while batch:
            began = time.time()
            try:
                if road == "websocket":
                    await self._over_socket(batch, straight=straight, began=began)
                elif road == "batch":
                    await self._over_batches(batch, straight=straight, began=began)
                else:
                    await self._over_http(batch, straight=straight, began=began)
            except Malformed as fault:
                self._book.broken.append(f"publisher {self.name}: {fault}")
                self._hang_up()
            except Cut:
                self._hang_up()
            failures += 1
            for left in [one for one in batch if one.sent.key is None and one.sent.attempts]:
                batch.remove(left)
                self.given_up += 1
            if stop.is_set() and failures > 20:
                self.given_up += len(batch)
                return
            if batch:
                await asyncio.sleep(backoff(self._backoffs, failures))

    async def _connected(self, *, straight: bool) -> Link:
        if self._link is None:
            self._link = await Link.open(self._backoffs.choice(self._ports) if straight else self._door)
            self._link.patience = 30.0 if straight else 2.5
        return self._link

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.abort()
        self._link = self._socket = None

    async def _over_http(self, batch: list[_Outgoing], *, straight: bool, began: float) -> None:
        link = await self._connected(straight=straight)
        while batch:
            piece = batch[:_IN_FLIGHT]
            requests = b""
            for one in piece:
                headers = {"Content-Type": "application/json"}
                if one.sent.key is not None:
                    headers["Idempotency-Key"] = one.sent.key
                query = urlencode(
                    {k: v for k, v in (("event", one.event), ("key", one.sent.state)) if v is not None}
                )
                target = f"/channels/{','.join(one.sent.channels)}{'?' if query else ''}{query}"
                requests += head_of("POST", target, headers, one.body) + one.body
                one.sent.attempts += 1
            await link.send(requests)
            for one in piece:
                answer = await link.answer()
                if answer.status not in (200, 201):
                    if answer.status < 500:
                        raise Malformed(f"a message was refused: {answer.status} {answer.body[:300]!r}")
                    raise Cut(f"answered {answer.status}")
                self._acknowledged(one, msgspec.json.decode(answer.body), answer.status == 200, began)
                batch.remove(one)
                if answer.headers.get("connection") == "close":
                    raise Cut("the server closes")

    async def _over_batches(self, batch: list[_Outgoing], *, straight: bool, began: float) -> None:
        link = await self._connected(straight=straight)
        while batch:
            piece = list(batch[:1])
            # A body is at most 64 KiB, and a hundred lines.
            while len(piece) < min(100, len(batch)) and sum(len(one.body) + 200 for one in piece) < 30_000:
                piece.append(batch[len(piece)])
            for one in piece:
                one.sent.attempts += 1
            body = b"\n".join([one.publication() for one in piece])
            answer = await link.ask("POST", "/publish", {"Content-Type": "application/x-ndjson"}, body)
            if answer.status >= 500:
                raise Cut(f"answered {answer.status}")
            lines = answer.body.splitlines()
            if answer.status != 200 or len(lines) != len(piece):
                raise Malformed(f"a batch of {len(piece)} was answered {answer.status} {answer.body[:300]!r}")
            for one, line in zip(piece, lines, strict=True):
                receipt = msgspec.json.decode(line)
                self._acknowledged(one, receipt, bool(receipt.get("duplicate")), began)
                batch.remove(one)
            if answer.headers.get("connection") == "close":
                raise Cut("the server closes")

    async def _over_socket(self, batch: list[_Outgoing], *, straight: bool, began: float) -> None:
        link = await self._connected(straight=straight)
        if self._socket is None:
            self._socket = await Socket.open(link, "/channels")
            ready = msgspec.json.decode(await self._socket.said())
            if "ready" not in ready:
                raise Malformed(f"instead of ready came {ready}")
        while batch:
            piece = batch[:_IN_FLIGHT]
            for one in piece:
                one.sent.attempts += 1
                await self._socket.say_raw(b'{"publish":%b,"ref":%d}' % (one.publication(), one.sent.number))
            waiting = {one.sent.number: one for one in piece}
            while waiting:
                said: dict[str, Any] = msgspec.json.decode(await self._socket.said())
                if "advice" in said or "end" in said:
                    continue
                if said.get("error", {}).get("code") in ("shutting_down", "log_unavailable"):
                    raise Cut("the server stops, or its log is away")
                if "ok" not in said or said.get("ref") not in waiting:
                    raise Malformed(f"a publish was answered {str(said)[:300]}")
                one = waiting.pop(said["ref"])
                self._acknowledged(one, said["ok"], bool(said["ok"].get("duplicate")), began)
                batch.remove(one)

    def _acknowledged(self, one: _Outgoing, receipt: dict[str, Any], duplicate: bool, began: float) -> None:
        if bool(receipt.get("duplicate")) != duplicate or receipt.get("durability") != self._durability:
            raise Malformed(f"a receipt is {receipt}")
        ids = receipt.get("ids") or {one.sent.channels[0]: receipt["id"]}
        if set(ids) != set(one.sent.channels):
            raise Malformed(f"a receipt for {one.sent.channels} is {receipt}")
        one.sent.acks.append((ids, duplicate, began, time.time()))
