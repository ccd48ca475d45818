"""A server with workers, from outside: which of its processes serves a connection, and what they hold.

Owns: looking into /proc. Does not own: clients (story/clients.py).
"""

import asyncio
import contextlib
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kit import ServerProcess
from raw import Wire


def workers(server: ServerProcess) -> list[int]:
    """Return the processes of the server's workers that are alive, and are programs of their own already.

    Until a child has begun its program the parent stands still: who stops that child stops both.
    """
    children: list[int] = []
    for task in Path(f"/proc/{server.pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            children += map(int, task.read_text().split())
    return sorted(child for child in children if is_alive(child) and _is_program(child))


def _is_program(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"tidings.server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def rests(pid: int, seconds: float = 20.0) -> None:
    """Wait until the process has worked, and has nothing left to do."""
    deadline = time.monotonic() + seconds
    used = -1
    while not used or used != _cpu(pid):
        assert time.monotonic() < deadline, "the process does not rest"
        used = _cpu(pid)
        await asyncio.sleep(0.4)


def _cpu(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def worker_of(server: ServerProcess, wire: Wire) -> int:
    """Return which worker has accepted the connection."""
    port = wire.writer.get_extra_info("sockname")[1]
    deadline = time.monotonic() + 15
    while (pid := _holder(server, port)) is None:
        assert time.monotonic() < deadline, "no worker has the connection"
        await asyncio.sleep(0.02)
    return pid


def _holder(server: ServerProcess, port: int) -> int | None:
    """Return the worker whose connection's other end is at `port`."""
    ends = (f":{server.port:04X}", f":{port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if local.endswith(ends[0]) and remote.endswith(ends[1]) and inode != "0":
            for pid in workers(server):
                for entry in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(OSError):  # closed meanwhile
                        if str(entry.readlink()) == f"socket:[{inode}]":
                            return pid
    return None


async def at(server: ServerProcess, pid: int, make: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `make` connects, at the worker `pid`: the kernel picks, so it is asked until it does."""
    for _ in range(200):
        made = await make()
        wire = made if isinstance(made, Wire) else made._wire
        if await worker_of(server, wire) == pid:
            return made
        made.abort()
    raise AssertionError("no connection came to that worker")


async def until(what: str, check: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until `check` is true, or what it returns to await is."""
    deadline = time.monotonic() + seconds
    while not (await found if inspect.isawaitable(found := check()) else found):
        assert time.monotonic() < deadline, f"it never came about that {what}"
        await asyncio.sleep(0.02)
