"""Where a log lives in a test: what opens it, and opens it again.

One entry of HOMES for each kind of log. A home is what outlives a log: a file's folder, a running
server. `tests/engines/` starts the real servers.
"""

import asyncio
import atexit
import itertools
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Protocol

from engines.nats import NatsServer
from engines.redis import RedisServer
from tidings.core.history import Retention
from tidings.logs import Log, open_log
from tidings.logs.memory import MemoryLog
from tidings.logs.shared import SharedLog, Sharing


class Home(Protocol):
    """The place of one log. `shared` says that two logs can be open here at once, and are one."""

    shared: bool
    lasting: bool  # what was acknowledged is there when the log is opened again

    async def open(self, retention: Retention | None = None) -> Log:
        """Return an opened log. Whoever asks closes it."""


class MemoryHome:
    """Nothing at all: each log in memory is one of its own."""

    shared = False
    lasting = False

    async def open(self, retention: Retention | None = None) -> Log:
        log = open_log("memory://", retention)
        await log.open()
        return log


@asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[Home]:
    """A log in memory."""
    yield MemoryHome()


class WorkersHome:
    """A log in memory that a parent shares: each that is opened is a worker's, over a socket of its own."""

    shared = True
    lasting = False

    def __init__(self) -> None:
        self._sharing: Sharing | None = None

    async def open(self, retention: Retention | None = None) -> Log:
        if self._sharing is None:
            self._sharing = Sharing(MemoryLog(retention), asyncio.get_running_loop())
        ours, theirs = socket.socketpair()
        await self._sharing.attach(ours)
        log = SharedLog(theirs)
        await log.open()
        return log

    async def close(self) -> None:
        if self._sharing is not None:
            await self._sharing.close()
            await self._sharing.log.close()


@asynccontextmanager
async def workers(_folder: Path) -> AsyncIterator[Home]:
    """A log that workers share."""
    home = WorkersHome()
    yield home
    await home.close()


class NamedHome:
    """What a URL names: opened as often as it is asked for."""

    def __init__(self, url: str, *, shared: bool, counts_channels: bool = True) -> None:
        self.url = url
        self.shared = shared
        self.lasting = True
        self.counts_channels = counts_channels

    async def open(self, retention: Retention | None = None) -> Log:
        log = open_log(self.url, retention)
        await log.open()
        return log


@asynccontextmanager
async def synced_file(folder: Path) -> AsyncIterator[Home]:
    """A log in a file, synced before it answers."""
    yield NamedHome(f"sqlite:///{folder / 'tidings.db'}?durability=synced", shared=False)


@asynccontextmanager
async def stored_file(folder: Path) -> AsyncIterator[Home]:
    """A log in a file, left to the kernel."""
    yield NamedHome(f"sqlite:///{folder / 'tidings.db'}?durability=stored", shared=False)


@asynccontextmanager
async def redis(_folder: Path) -> AsyncIterator[Home]:
    """A log in Redis: one stream, which is cut at its beginning only."""
    yield NamedHome(redis_server().url(f"home{next(_names)}"), shared=True, counts_channels=False)


@asynccontextmanager
async def nats(_folder: Path) -> AsyncIterator[Home]:
    """A log in NATS JetStream: one stream, which is cut at its beginning only."""
    yield NamedHome(f"{nats_server().url}?name=home{next(_names)}", shared=True, counts_channels=False)


_names = itertools.count()


@cache
def redis_server() -> RedisServer:
    """Return the server that this process's tests share; each has a name of its own there."""
    server = RedisServer(_folder()).start()
    atexit.register(server.kill)
    return server


@cache
def nats_server() -> NatsServer:
    """Return the server that this process's tests share; each has a stream of its own there."""
    server = NatsServer(_folder())
    server.start()
    atexit.register(server.stop)
    return server


def _folder() -> Path:
    """Return a folder that is gone when this process ends: after whatever is registered later."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


HOMES: dict[str, Callable[[Path], AbstractAsyncContextManager[Home]]] = {
    "memory": memory,
    "workers": workers,
    "sqlite": synced_file,
    "sqlite-stored": stored_file,
    "redis": redis,
    "nats": nats,
}
