"""A proxy that breaks connections: what networks, phones and other people's proxies do, on one machine.

Owns: what happens to the bytes of a connection. Does not own: when the mood changes (nemesis.py).
Invariant: the n-th connection through a door suffers what the seed, the door's name, n and the mood say,
whatever the timing; the upstream connection is made at once, so that bytes never travel from one life of
the server to another.
"""

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_PIECE: Final = 16 * 1024
_SLICED: Final = 3_000  # bytes that go one by one each way; beyond them the price is ours, not the server's
_STOPPED: Final = 20.0  # a connection that is buffered or half-open is reset after so long at the latest

_BAD_GATEWAY: Final = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 20\r\nConnection: close\r\n\r\n"
    b"<h1>Bad Gateway</h1>"
)


@dataclass(frozen=True)
class Mischief:
    """What happens to one connection. Times are seconds, sizes bytes."""

    kind: str
    delay: float = 0.0
    jitter: float = 0.0
    after_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        shown = [f"{name}={value:g}" for name, value in vars(self).items() if name != "kind" and value]
        return f"{self.kind}({' '.join(shown)})"


# How often each kind is met in each mood.
MOODS: Final[Mapping[str, Mapping[str, int]]] = {
    "clear": {"none": 1},
    "mixed": {
        "none": 8,
        "latency": 4,
        "stall": 3,
        "reset": 3,
        "half-open": 2,
        "slices": 2,
        "cut": 4,
        "no-upgrade": 2,
        "buffer": 2,
        "bad-gateway": 1,
        "swallowed": 1,
    },
    "slow": {"latency": 5, "stall": 4, "slices": 2},
    "cutting": {"reset": 4, "cut": 5, "swallowed": 2, "none": 1},
    "walled": {"no-upgrade": 4, "buffer": 4, "bad-gateway": 2, "none": 2},
    "dead": {"half-open": 4, "stall": 2, "none": 2},
}


def draw(chance: random.Random, mood: str) -> Mischief:
    """Return what befalls the next connection; the number of draws is always the same."""
    weights = MOODS[mood]
    kind = chance.choices(list(weights), list(weights.values()))[0]
    delay, jitter = chance.choice((0.002, 0.02, 0.15)), chance.random()
    # Mostly early: in a head, in a handshake, in the first messages.
    after_bytes = int(chance.choice((1, 200, 2_000, 20_000, 200_000)) * (0.5 + chance.random()))
    seconds = 0.1 + 3.0 * chance.random() ** 2
    match kind:
        case "latency":
            return Mischief(kind, delay=delay, jitter=delay * jitter)
        case "stall":
            return Mischief(kind, after_bytes=after_bytes, seconds=seconds)
        case "reset" | "half-open":
            return Mischief(kind, seconds=seconds)
        case "cut":
            return Mischief(kind, after_bytes=after_bytes)
        case _:
            return Mischief(kind)


class Door:
    """One port of the proxy, for one client: its n-th connection is the same in each run with a seed."""

    def __init__(self, name: str, server: asyncio.Server) -> None:
        self.name = name
        self.port: int = server.sockets[0].getsockname()[1]
        self.connections = 0
        self.server = server


class ChaosProxy:
    """Doors to one of several servers, and the mood that decides what happens behind them."""

    def __init__(self, host: str, ports: Sequence[int], seed: int | str) -> None:
        self.host = host
        self.ports = ports
        self.mood = "clear"
        self.met: Counter[str] = Counter()
        self._seed = seed
        self._doors: list[Door] = []
        self._passages: set[Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def door(self, name: str) -> Door:
        """Return a new door that listens on a port of 127.0.0.1."""
        door: Door

        async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                # A cancelled handler is a traceback in 3.11's streams: only `close` cancels.
                with contextlib.suppress(asyncio.CancelledError):
                    await self._enter(door, reader, writer)
            finally:
                self._tasks.discard(task)

        server = await asyncio.start_server(enter, "127.0.0.1", 0, limit=_PIECE)
        door = Door(name, server)
        self._doors.append(door)
        return door

    async def _enter(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door.connections += 1
        mischief = draw(random.Random(f"{self._seed}/{door.name}/{door.connections}/{self.mood}"), self.mood)
        self.met[mischief.kind] += 1
        passage = Passage(mischief, reader, writer)
        self._passages.add(passage)
        try:
            port = random.Random(f"{self._seed}/{door.name}/{door.connections}/port").choice(self.ports)
            await passage.run(self.host, port)
        finally:
            passage.reset()
            self._passages.discard(passage)

    def cut_all(self) -> int:
        """Reset every connection; return how many there were."""
        count = len(self._passages)
        for passage in list(self._passages):
            passage.reset()
        return count

    async def close(self) -> None:
        """Close the doors and cut what is left."""
        for door in self._doors:
            door.server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for door in self._doors:
            await door.server.wait_closed()


class Passage:
    """One connection through the proxy."""

    def __init__(
        self, mischief: Mischief, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.mischief = mischief
        self._client = reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._swallowing = False
        self._closing = False

    async def run(self, host: str, port: int) -> None:
        """Carry bytes both ways until one side ends, or the mischief does."""
        no_delay(self._client[1])
        if self.mischief.kind == "bad-gateway":
            await self._bad_gateway()
            return
        try:
            self._server = await asyncio.open_connection(host, port, limit=_PIECE)
        except OSError:
            return  # the server is down: the client is reset
        no_delay(self._server[1])
        up = self._carry(self._client[0], self._server[1], self._upwards())
        down = self._carry(self._server[0], self._client[1], self._downwards())
        carriers = [asyncio.create_task(up), asyncio.create_task(down)]
        deadline = {"reset": self.mischief.seconds, "buffer": _STOPPED}.get(self.mischief.kind)
        if self.mischief.kind == "half-open":
            carriers.append(asyncio.create_task(self._go_dead()))
        try:
            async with asyncio.timeout(deadline):
                # The server's end is the end; the client's half-close is handed on, and the answer awaited.
                await carriers[1]
                if self.mischief.kind == "half-open":
                    await asyncio.sleep(_STOPPED)
        except (TimeoutError, OSError):
            self.reset()
        else:
            self._finish()
        finally:
            for carrier in carriers:
                carrier.cancel()
            await asyncio.gather(*carriers, return_exceptions=True)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        forward: Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]],
    ) -> None:
        while True:
            piece = await reader.read(_PIECE)
            # The end is forwarded, too, as an empty piece: who keeps bytes gives them up then.
            if not self._swallowing:
                if not await forward(piece, writer):
                    return
                await writer.drain()
            if not piece:
                break
        if writer.can_write_eof() and not self._swallowing and not writer.is_closing():
            with contextlib.suppress(OSError):
                writer.write_eof()

    async def _go_dead(self) -> None:
        await asyncio.sleep(self.mischief.seconds)
        self._swallowing = True
        await asyncio.sleep(_STOPPED)
        self.reset()

    # --- what each kind does to a piece; False ends the direction --------------------------------

    def _upwards(self) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]:
        match self.mischief.kind:
            case "latency":
                return self._late
            case "slices":
                return _Slices().forward
            case "no-upgrade":
                return _UpgradeStripper().forward
            case _:
                return _pass

    def _downwards(self) -> Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]:
        match self.mischief.kind:
            case "latency":
                return self._late
            case "slices":
                return _Slices().forward
            case "stall":
                return _Stall(self.mischief).forward
            case "cut":
                return _Cut(self.mischief.after_bytes).forward
            case "buffer":
                return _Buffer().forward
            case "swallowed":
                return self._swallow_answer
            case _:
                return _pass

    async def _late(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        chance = random.random()  # the jitter of a piece has no place in a schedule
        await asyncio.sleep(self.mischief.delay + self.mischief.jitter * chance)
        writer.write(piece)
        return True

    async def _swallow_answer(self, _piece: bytes, writer: asyncio.StreamWriter) -> bool:
        """The request has arrived and was obeyed; its sender is told otherwise."""
        writer.write(_BAD_GATEWAY)
        return False

    async def _bad_gateway(self) -> None:
        reader, writer = self._client
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_STOPPED):
                await reader.read(_PIECE)
                writer.write(_BAD_GATEWAY)
                await writer.drain()
                writer.close()
                await writer.wait_closed()

    # --- how it ends -----------------------------------------------------------------------------

    def _finish(self) -> None:
        """Close both sides; what was carried still arrives."""
        self._closing = True
        for _, writer in filter(None, (self._client, self._server)):
            writer.close()

    def reset(self) -> None:
        """Drop both sides with a RST: what was not yet read is lost."""
        for _, writer in filter(None, (self._client, self._server)):
            if self._closing and writer.is_closing():
                continue
            sock = writer.get_extra_info("socket")
            if sock is not None and not writer.transport.is_closing():
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def no_delay(writer: asyncio.StreamWriter) -> None:
    """Send small pieces as they are."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _pass(piece: bytes, writer: asyncio.StreamWriter) -> bool:
    writer.write(piece)
    return True


class _Slices:
    """One byte at a time, for as long as that is worth its price."""

    def __init__(self) -> None:
        self._left = _SLICED

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        cut = min(self._left, len(piece))
        self._left -= cut
        for index in range(cut):
            if writer.is_closing():
                return False
            writer.write(piece[index : index + 1])
            await asyncio.sleep(0)
        writer.write(piece[cut:])
        return True


class _Stall:
    """Nothing is taken from the server for a while, once; then all goes on."""

    def __init__(self, mischief: Mischief) -> None:
        self._left = mischief.after_bytes
        self._seconds = mischief.seconds

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        before = self._left
        self._left -= len(piece)
        if before > 0 >= self._left:
            await asyncio.sleep(self._seconds)
        writer.write(piece)
        return True


class _Cut:
    """The end after exactly so many bytes, in the middle of whatever that is."""

    def __init__(self, after_bytes: int) -> None:
        self._left = after_bytes

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(piece[: self._left])
        self._left -= len(piece)
        return self._left > 0


class _Buffer:
    """Answers are kept until the server closes: what some proxies do to a stream."""

    def __init__(self) -> None:
        self._kept = b""

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        self._kept += piece
        if not piece or len(self._kept) > 1024 * 1024:
            writer.write(self._kept)
            self._kept = b""
        return True


class _UpgradeStripper:
    """The first request head loses its Upgrade, and `Connection: Upgrade` with it."""

    def __init__(self) -> None:
        self._head: bytes | None = b""

    async def forward(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        if self._head is None:
            writer.write(piece)
            return True
        self._head += piece
        if b"\r\n\r\n" in self._head:
            head, end, rest = self._head.partition(b"\r\n\r\n")
            head = re.sub(rb"\r\nUpgrade:[^\r]*", b"", head, flags=re.IGNORECASE)
            head = re.sub(rb"\r\nConnection:[^\r]*upgrade[^\r]*", b"", head, flags=re.IGNORECASE)
            writer.write(head + end + rest)
            self._head = None
        return True
