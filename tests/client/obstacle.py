"""What stands between a client and its server: a small TCP proxy that treats each transport as it is told.

Owns: what becomes of a connection's bytes. Does not own: what is on both ends.
Invariant: each request has a connection of its own, which is treated as was said when it came.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from kit import ServerProcess

# hang: not a byte comes back. buffer: the head of the answer comes, its body at the end. drop: closed at
# once. lose: the request arrives, and the answer does not. strip: the Upgrade is taken out.
Treatment = Literal["pass", "hang", "buffer", "drop", "lose", "strip"]


class Obstacle:
    """A way to `server`; `treat["sse"] = "buffer"` says what becomes of new connections."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.treat: dict[str, Treatment] = {}
        # Requests by transport; a publish is "publish".
        self.seen: Counter[str] = Counter()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._carry(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        """Cut all, and wait for their end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"transport=([a-z-]+)", head.partition(b"\r\n")[0])
        kind = "publish" if head.startswith(b"POST") else found[1].decode() if found else "other"
        self.seen[kind] += 1
        treatment = self.treat.get(kind, "pass")
        if treatment == "drop":
            return
        far_reader, far_writer = await asyncio.open_connection(self.server.host, self.server.port)
        if treatment == "strip":
            head = re.sub(rb"(?i)\r\n(upgrade|connection): [^\r]*", b"", head)
        if b"\r\nUpgrade:" not in head:
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        far_writer.write(head)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pipe(reader, far_writer))
                both.create_task(self._down(treatment, far_reader, writer))
        except* (OSError, asyncio.IncompleteReadError, _Ended):
            pass
        finally:
            far_writer.transport.abort()

    async def _down(
        self, treatment: Treatment, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if treatment == "hang":
            await reader.read(-1)
            await asyncio.Event().wait()
        if treatment == "lose":
            await reader.readuntil(b"\r\n\r\n")
            raise _Ended
        if treatment == "buffer":
            writer.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await reader.read(-1))
            await writer.drain()
        await _pipe(reader, writer)


class _Ended(Exception):
    """One direction has ended; the connection ends with it."""


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise _Ended


@asynccontextmanager
async def obstacle(server: ServerProcess, **treat: Treatment) -> AsyncIterator[Obstacle]:
    """Yield an open way to `server`; `long_polling="hang"` is the treatment of that transport."""
    way = Obstacle(server)
    way.treat = {name.replace("_", "-"): treatment for name, treatment in treat.items()}
    listener = await asyncio.start_server(way.enter, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    way.url = f"http://{host}:{port}"
    try:
        yield way
    finally:
        listener.close()
        await way.close()
        await listener.wait_closed()
