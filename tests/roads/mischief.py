"""A hostile proxy: what firewalls, virus scanners and bad networks do, each for itself and without an end.

Owns: what is done to HTTP, and to connections that are silent. Does not own: how bytes are carried, reset and
counted, which is the proof's own proxy (exactness/chaos_proxy.py).
Invariant: what the n-th connection suffers is said by the seed and n, whatever the timing.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from exactness.chaos_proxy import ChaosProxy, Door, Mischief, Passage
from kit import ServerProcess

Fate = Callable[[random.Random], Mischief]

NONE: Final = Mischief("none")
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_ASKS_UPGRADE = re.compile(rb"\r\nUpgrade:", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\n(?:Upgrade:[^\r]*|Connection:[^\r]*upgrade[^\r]*)", re.IGNORECASE)
_WITHOUT_BODY = re.compile(rb"HTTP/1\.1 (?:1\d\d|204|304)")


def _now_and_then(chance: random.Random) -> Mischief:
    """Answer every third connection with 502, and end the others soon, so that there is a next one.

    Of those with 502 half were heard by the server: what was published there must not be published twice.
    """
    if chance.random() < 1 / 3:
        return Mischief(chance.choice(("bad-gateway", "swallowed")))
    return Mischief("reset", seconds=0.5 + 4 * chance.random())


def _reset(chance: random.Random) -> Mischief:
    """End a connection soon: at some time, or after some bytes, in the midst of a message."""
    if chance.random() < 0.5:
        return Mischief("cut", after_bytes=chance.randrange(1, 20_000))
    return Mischief("reset", seconds=0.2 + 4 * chance.random() ** 2)


# What is done to each connection. A wall takes transports away from all alike, and stands for good.
WALLS: Final[Mapping[str, Fate]] = {
    "WebSocket hangs": lambda _chance: Mischief("hang"),
    "no Upgrade": lambda _chance: Mischief("strip"),
    "answers kept back": lambda _chance: Mischief("keep"),
}
MISHAPS: Final[Mapping[str, Fate]] = {
    "silence is cut, 2 s": lambda _chance: Mischief("idle", seconds=2.0),
    "resets": _reset,
    "502 and resets": _now_and_then,
    "half-open": lambda chance: Mischief("half-open", seconds=1 + 3 * chance.random()),
}


class HostileProxy(ChaosProxy):
    """A door before `server`. Calm until told otherwise, so that a page can be loaded first."""

    def __init__(self, server: ServerProcess, fate: Fate, seed: int | str) -> None:
        super().__init__(server.host, (server.port,), seed)
        self._port = server.port
        self.url = ""
        self.tls_url: str | None = None
        self._fate = fate
        self._chances = str(seed)
        self._hostile = False

    async def start(self) -> None:
        """Listen."""
        door = await self.door("road")
        self.url = f"http://127.0.0.1:{door.port}"

    async def stop(self) -> None:
        """Cut all, and listen no more."""
        await self.close()

    def turn_hostile(self) -> None:
        """From now on every connection suffers; those that were made before are cut."""
        self._hostile = True
        self.cut_all()

    def mend(self) -> None:
        """Let new connections through as they are. Those that suffer go on suffering."""
        self._hostile = False

    async def _enter(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door.connections += 1
        mischief = NONE
        if self._hostile:
            mischief = self._fate(random.Random(f"{self._chances}/{door.connections}"))
        self.met[mischief.kind] += 1
        passage = _HostilePassage(mischief, reader, writer)
        self._passages.add(passage)
        try:
            await passage.run(self.host, self._port)
        finally:
            passage.reset()
            self._passages.discard(passage)


class _HostilePassage(Passage):
    """One connection; knows the kinds above besides those of the proof."""

    async def run(self, host: str, port: int) -> None:
        if self.mischief.kind != "idle":
            await super().run(host, port)
            return
        self._heard = asyncio.Event()
        watch = asyncio.create_task(self._cut_when_silent())
        try:
            await super().run(host, port)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _upwards(self) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]:
        match self.mischief.kind:
            case "hang":
                return _HangUpgrades().forward
            case "strip" | "keep":
                return _StripUpgrades().forward
            case "idle":
                return self._note
            case _:
                return super()._upwards()

    def _downwards(self) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]:
        match self.mischief.kind:
            case "keep":
                return _KeepAnswers().forward
            case "idle":
                return self._note
            case _:
                return super()._downwards()

    async def _note(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        self._heard.set()
        writer.write(piece)
        return True

    async def _cut_when_silent(self) -> None:
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(self.mischief.seconds):
                    await self._heard.wait()
            except TimeoutError:
                self._finish()
                return

    async def _go_dead(self) -> None:
        # Without the proof's reset at the end: who listens has to find out alone.
        await asyncio.sleep(self.mischief.seconds)
        self._swallowing = True


class _HangUpgrades:
    """A request for an upgrade is taken, and nothing is ever heard of it."""

    def __init__(self) -> None:
        self._hangs = False

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        self._hangs = self._hangs or _ASKS_UPGRADE.search(piece) is not None
        if not self._hangs:
            writer.write(piece)
        return bool(piece) or not self._hangs


class _StripUpgrades:
    """Every request's head loses its Upgrade, and `Connection: Upgrade` with it."""

    def __init__(self) -> None:
        self._kept = b""
        self._body = 0

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        self._kept += piece
        while self._kept:
            if self._body:
                part, self._kept = self._kept[: self._body], self._kept[self._body :]
                self._body -= len(part)
                writer.write(part)
                continue
            head, end, rest = self._kept.partition(b"\r\n\r\n")
            if not end:
                break
            writer.write(_UPGRADE.sub(b"", head) + end)
            self._kept = rest
            self._body = _length(head) or 0
        return True


class _KeepAnswers:
    """An answer is passed on when it is complete: an event stream, then, when it is over."""

    def __init__(self) -> None:
        self._kept = b""

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        self._kept += piece
        if not piece:
            writer.write(self._kept)
            return True
        while self._kept:
            head, end, _ = self._kept.partition(b"\r\n\r\n")
            length = 0 if _WITHOUT_BODY.match(head) else _length(head)
            whole = len(head) + len(end) + (length or 0)
            if not end or length is None or len(self._kept) < whole:
                break
            writer.write(self._kept[:whole])
            self._kept = self._kept[whole:]
        return True


def _length(head: bytes) -> int | None:
    found = _LENGTH.search(head)
    return int(found[1]) if found else None
