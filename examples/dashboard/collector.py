"""Read this machine's figures from /proc (Linux), and publish them: what the dashboard shows.

    python examples/dashboard/collector.py [--url http://127.0.0.1:8080]

Channels: `machine.readings`, one each second; `machine.processes`, the busiest of them, every two seconds. A
reading says when it was read (`at`, in milliseconds). So those that could not be published in time, because
the server was away, are published later and stand where they belong: there is no hole.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import tidings
from tidings.client import Refused, Unreachable

PROC = Path("/proc")
EVERY = 1.0  # seconds between two readings
WAITING = 600  # readings that wait for the server, at most: as many as the page shows
BUSIEST = 8
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Counters(NamedTuple):
    """What only ever grows, as it stood at one moment; rates are the difference of two."""

    at: float  # seconds, monotonic
    cores: list[tuple[int, int]]  # (busy, all) ticks; first of all cores together
    disk: tuple[int, int]  # bytes read and written
    network: tuple[int, int, int]  # bytes in, out, and over the loopback


def count() -> Counters:
    """Read the counters (proc(5))."""
    cores = []
    for line in (PROC / "stat").read_text().splitlines():
        if not line.startswith("cpu"):
            break
        ticks = [int(field) for field in line.split()[1:9]]
        cores.append((sum(ticks) - ticks[3] - ticks[4], sum(ticks)))  # less idle, and waiting for a disk
    return Counters(time.monotonic(), cores, disk(), network())


def disk() -> tuple[int, int]:
    """Return the bytes read and written, of whole disks: partitions are parts of them."""
    whole = {path.name for path in Path("/sys/block").glob("*")}
    read = written = 0
    for line in (PROC / "diskstats").read_text().splitlines():
        _, _, name, *fields = line.split()
        if name in whole and not name.startswith(("loop", "ram", "zram", "dm-", "md")):
            read += int(fields[2]) * 512
            written += int(fields[6]) * 512
    return read, written


def network() -> tuple[int, int, int]:
    """Return the bytes received and sent, and those that programs here said to each other."""
    received = sent = loopback = 0
    for line in (PROC / "net/dev").read_text().splitlines()[2:]:
        name, _, fields = line.partition(":")
        numbers = fields.split()
        if name.strip() == "lo":
            loopback = int(numbers[0])
        else:
            received += int(numbers[0])
            sent += int(numbers[8])
    return received, sent, loopback


def memory() -> tuple[int, int]:
    """Return (used, total) in bytes; what the kernel would give back at once counts as free."""
    sizes = {}
    for line in (PROC / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return sizes["MemTotal"] - sizes["MemAvailable"], sizes["MemTotal"]


def reading(before: Counters, now: Counters) -> dict[str, Any]:
    """Return the message of one reading."""
    seconds = now.at - before.at
    busy = [
        round(100 * (b - a) / max(1, all_b - all_a), 1)
        for (a, all_a), (b, all_b) in zip(before.cores, now.cores, strict=False)
    ]
    used, total = memory()
    rates = zip((*before.disk, *before.network), (*now.disk, *now.network), strict=True)
    read, written, received, sent, loopback = (max(0, round((b - a) / seconds)) for a, b in rates)
    return {
        "at": round(time.time() * 1000),
        "cpu_percent": busy[0],
        "cores_percent": busy[1:],
        "load": [float(field) for field in (PROC / "loadavg").read_text().split()[:3]],
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "disk_read_bytes_per_second": read,
        "disk_written_bytes_per_second": written,
        "network_in_bytes_per_second": received,
        "network_out_bytes_per_second": sent,
        "loopback_bytes_per_second": loopback,
        "uptime_seconds": round(float((PROC / "uptime").read_text().split()[0])),
    }


def processes() -> dict[int, tuple[str, int, int]]:
    """Return, by process id, its name, its ticks, and its memory in bytes.

    The name only: a command line may hold secrets, and everybody can read the channel.
    """
    found = {}
    for folder in PROC.glob("[0-9]*"):
        # Some end while we read.
        with contextlib.suppress(OSError):
            before, _, after = (folder / "stat").read_text().rpartition(")")
            fields = after.split()
            ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
            found[int(folder.name)] = (before.partition("(")[2], ticks, pages * PAGE)
    return found


def busiest(
    before: dict[int, tuple[str, int, int]], now: dict[int, tuple[str, int, int]], seconds: float
) -> dict[str, Any]:
    """Return the message about the processes that have used most since `before`."""
    used = [
        (100 * (ticks - before.get(pid, (name, 0, 0))[1]) / TICK / seconds, size, pid, name)
        for pid, (name, ticks, size) in now.items()
        if pid in before
    ]
    used.sort(reverse=True)
    return {
        "count": len(now),
        "busiest": [
            {"pid": pid, "name": name, "cpu_percent": round(percent, 1), "memory_bytes": size}
            for percent, size, pid, name in used[:BUSIEST]
        ],
    }


def say(words: str) -> None:
    print(f"collector: {words}", file=sys.stderr, flush=True)


def collect(publisher: tidings.Publisher, ending: threading.Event) -> None:
    """Publish until `ending` is set."""
    waiting: deque[Any] = deque(maxlen=WAITING)
    life = f"{os.getpid()}-{time.time_ns()}"
    before, before_processes = count(), processes()
    due, number, heard = time.monotonic(), 0, True
    while True:
        due = max(due + EVERY, time.monotonic())
        if ending.wait(due - time.monotonic()):
            return
        now, number = count(), number + 1
        # With a key of its own, each may be given again until it is known to be taken, and counts once.
        waiting.append(
            {
                "channel": "machine.readings",
                "data": reading(before, now),
                "idempotency_key": f"{life}-{number}",
            }
        )
        before = now
        try:
            publisher.publish_many(waiting)
            waiting.clear()
            if number % 2 == 0:
                now_processes = processes()
                publisher.publish("machine.processes", busiest(before_processes, now_processes, 2 * EVERY))
                before_processes = now_processes
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and not error.retry:
                sys.exit(f"collector: {error}")
            if heard:
                say(f"{error}; readings wait until the server is back")
            heard = False
        else:
            heard = True


def main() -> None:
    options = argparse.ArgumentParser(description="Publish this machine's figures for the dashboard.")
    options.add_argument("--url", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    chosen = options.parse_args()
    ending = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # A short patience: the next reading is due in a second.
    with tidings.Publisher(chosen.url, timeout=0.6) as publisher:
        collect(publisher, ending)


if __name__ == "__main__":
    main()
