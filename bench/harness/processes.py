"""Processes on their cores: start, stop, and what they used.

Owns: pinning, CPU time and memory of a process tree, from /proc. Does not own: what the processes are.
Invariant: servers run on the first core that we may use, everything else of ours on the second, where only
a server of several processes may run, too.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[1 % len(_CORES)]
CORES = (SERVER_CORE, LOAD_CORE)


def prepare() -> None:
    """Take the load's core, and as many descriptors as we may have; children inherit both."""
    # Ended from outside, we still stop what we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.sched_setaffinity(0, {LOAD_CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def start_server(
    command: Sequence[str], environment: Mapping[str, str], talk: Path, on: Collection[int] = CORES[:1]
) -> subprocess.Popen[bytes]:
    """Return a process started on the servers' core, or `on` others, its output in the file `talk`.

    Cores are inherited rather than set afterwards: so are the threads that it starts at once.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, on)
    try:
        with talk.open("wb") as out:
            return subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, before)


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and those it started. What a server does at its end is not measured here."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Stop the server when the block is left, however it is left."""
    try:
        yield process
    finally:
        stop_server(process)


def tree(pid: int) -> list[int]:
    """Return `pid` and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found.extend(int(child) for child in task.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the tree under `pid`, all threads (schedstat counts nanoseconds, not ticks)."""
    total = 0
    for process in tree(pid):
        for stat in Path(f"/proc/{process}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(stat.read_text().split()[0])
    return total / 1e9


def ksoftirqd_seconds() -> float:
    """Return the CPU time of the servers' core's ksoftirqd: network work that was charged to nobody."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if comm.read_text().strip() == f"ksoftirqd/{SERVER_CORE}":
                return int((comm.parent / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


def core_seconds(cores: Collection[int] = CORES[:1]) -> tuple[float, float]:
    """Return how long `cores` were busy together, and how long a host kept them from us (10 ms ticks)."""
    busy = kept = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(tuple(f"cpu{core} " for core in cores)):
            user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, line.split()[1:9])
            second = os.sysconf("SC_CLK_TCK")
            busy += (user + nice + system + irq + softirq) / second
            kept += stolen / second
    return busy, kept


def memory(pid: int) -> tuple[int, int]:
    """Return resident and proportional (shared pages divided) bytes of the tree under `pid`."""
    resident = proportional = 0
    for process in tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                resident += int(line.split()[1]) * 1024
            elif line.startswith("Pss:"):
                proportional += int(line.split()[1]) * 1024
    return resident, proportional


def sockets_with_unsent(port: int) -> int:
    """Return how many open connections of a local port hold bytes that their peer has not taken."""
    found = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues = line.split()[:5]
        if state == "01" and local.endswith(f":{port:04X}") and int(queues.partition(":")[0], 16):
            found += 1
    return found
