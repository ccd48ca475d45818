"""A server of the lab's own: `tidings serve` as a process, on a free port; what it has used.

Owns: start, stop, CPU time and memory, from /proc. Does not own: what is asked of it.
Invariant: a server that was started is ended, however the run ends: done, failed or cancelled.
"""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidings.lab.load import LoadError

_LISTENING: Final = re.compile(r"listening on http://(\S+):(\d+)")
_SMAPS: Final = Path("/proc/self/smaps_rollup")
_START: Final = 20.0  # seconds: an interpreter on a busy machine


@dataclass(frozen=True)
class Server:
    """A running server."""

    address: str
    port: int
    pid: int

    @property
    def host(self) -> str:
        """What a client writes in `Host`."""
        return f"{self.address}:{self.port}"

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads; schedstat counts nanoseconds, not ticks."""
        total = 0
        for stat in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                total += int(stat.read_text().split()[0])
        return total / 1e9

    def memory(self) -> int:
        """Return its proportional set size in bytes: pages shared with others are divided among them."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise LoadError("The kernel does not tell the server's memory (smaps_rollup has no Pss).")


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """Yield a server, and end it afterwards."""
    if not _SMAPS.exists():
        raise LoadError("The lab reads CPU time and memory from /proc, so it runs on Linux only.")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidings", "serve", "--port", "0", "--drain", "0", "--log-level", "warning"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is ours to pass on
    )
    said: list[str] = []
    reading: asyncio.Task[None] | None = None
    try:
        found = await _address(process, said)
        # Its pipe must not fill while it runs.
        reading = asyncio.create_task(_listen(process, said))
        yield Server(found[1], int(found[2]), process.pid)
    finally:
        # Killed, not asked: what a server does at its end is not measured here.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if reading is not None:
            await reading


async def _address(process: asyncio.subprocess.Process, said: list[str]) -> re.Match[str]:
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_START):
            while line := await process.stderr.readline():
                said.append(line.decode(errors="replace"))
                if found := _LISTENING.search(said[-1]):
                    return found
    except TimeoutError:
        raise LoadError(f"The lab's own server said nothing for {_START:g} s. Is the machine busy?") from None
    raise LoadError(f"The lab's own server did not start: {' '.join(said).strip() or 'it said nothing'}")


async def _listen(process: asyncio.subprocess.Process, said: list[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        said[:] = [*said[-20:], line.decode(errors="replace")]
