"""Publish this machine's own figures to the channel `machine`, twice a second, read from /proc (Linux).

    python examples/machine_feed.py [--url http://127.0.0.1:8080] [--every 0.5]

Each message is one reading:

    {"cpu_percent": 12.5, "load_1m": 0.42, "memory_used_bytes": …, "memory_total_bytes": …,
     "network_in_bytes_per_second": …, "network_out_bytes_per_second": …, "loopback_bytes_per_second": …}

Rates are over the time since the reading before. Loopback is told apart from the network: it is what
programs on this machine say to each other.
"""

import argparse
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import tidings
from tidings.client import Refused, Unreachable

PROC = Path("/proc")


class Counters(NamedTuple):
    """What only ever grows, as it stood at one moment; rates are the difference of two."""

    at: float  # seconds, monotonic
    busy: int  # clock ticks, all processors together
    total: int
    received: int  # bytes, all interfaces but loopback
    sent: int
    loopback: int


def count() -> Counters:
    """Read /proc/stat and /proc/net/dev (proc(5))."""
    ticks = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # idle, and waiting for a disk
    received = sent = loopback = 0
    for line in (PROC / "net/dev").read_text().splitlines()[2:]:
        name, _, fields = line.partition(":")
        numbers = fields.split()
        if name.strip() == "lo":
            loopback = int(numbers[0])
        else:
            received += int(numbers[0])
            sent += int(numbers[8])
    return Counters(time.monotonic(), sum(ticks) - idle, sum(ticks), received, sent, loopback)


def memory() -> tuple[int, int]:
    """Return (used, total) in bytes; what the kernel would give back at once counts as free."""
    sizes = {}
    for line in (PROC / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return sizes["MemTotal"] - sizes["MemAvailable"], sizes["MemTotal"]


def reading(before: Counters, now: Counters) -> dict[str, float]:
    seconds = now.at - before.at
    used, total = memory()
    return {
        "cpu_percent": round(100 * (now.busy - before.busy) / max(1, now.total - before.total), 1),
        "load_1m": float((PROC / "loadavg").read_text().split()[0]),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "network_in_bytes_per_second": round((now.received - before.received) / seconds),
        "network_out_bytes_per_second": round((now.sent - before.sent) / seconds),
        "loopback_bytes_per_second": round((now.loopback - before.loopback) / seconds),
    }


def say(words: str) -> None:
    print(f"machine_feed: {words}", file=sys.stderr, flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description="Publish this machine's figures to the channel `machine`.")
    options.add_argument("--url", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    options.add_argument("--every", type=float, default=0.5, help="seconds between two readings")
    chosen = options.parse_args()

    ending = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)

    say(f"publishing to {chosen.url}, channel machine, every {chosen.every:g} s; Ctrl-C ends it")
    heard = True
    before, due = count(), time.monotonic()
    with tidings.Publisher(chosen.url) as publisher:
        while True:
            due = max(due + chosen.every, time.monotonic())  # after a pause we go on, we do not catch up
            if ending.wait(due - time.monotonic()):
                break
            now = count()
            try:
                publisher.publish("machine", reading(before, now))
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and not error.retry:
                    sys.exit(f"machine_feed: {error}")
                # A reading that nobody took is old news by the next: none is kept.
                if heard:
                    say(f"{error}; trying on with each new reading")
                heard = False
            else:
                if not heard:
                    say("the server answers again")
                heard = True
            before = now
    say("ended")


if __name__ == "__main__":
    main()
