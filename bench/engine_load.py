"""Load for an engine without a server around it: our log alone, or a bare client that does the same work.

    python engine_load.py log|redis|nats|sqlite URL [--burst S] [--paced S --rate R] …

Burst: as many appends as are answered, with so many unanswered. Paced: one at a time at a rate; the delay
runs from the append to the record's return (in a file: to the end of its commit).

Owns: one line of JSON when all is done; then it waits to be ended. Does not own: engines
(harness/engines.py).
Invariant: it ends in an error where a message is missing; times are seconds.
"""

import argparse
import asyncio
import json
import select
import signal
import sys
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Any

import uvloop
from engine_clients import Client, Nats, Redis, Sqlite
from harness import processes

from tidings.core.message import Draft, Hole, Life
from tidings.logs import Log, open_log
from tidings.wire import record

_PATIENCE = 10.0  # for what is on the way when the time is over


class _Phase:
    """What a phase cost: this process, and the engine's."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._cpu, self._theirs = time.process_time(), self._used()
        self._began = time.monotonic()

    def _used(self) -> float:
        return processes.cpu_seconds(self._engine) if self._engine else 0.0

    def over(self, messages: int, delays: Sequence[float] = ()) -> dict[str, float]:
        """Return it, with how many messages went and how late they came."""
        told = {
            "messages": messages,
            "wall": time.monotonic() - self._began,
            "cpu": time.process_time() - self._cpu,
            "engine_cpu": self._used() - self._theirs,
        }
        if len(delays) > 1:
            cuts = quantiles(delays, n=100)
            told |= {"delay_p50": cuts[49], "delay_p99": cuts[98]}
        return told


def _data(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


# --- a bare client --------------------------------------------------------------------------------


def _take(client: Client, patience: float) -> tuple[int, int]:
    ready = select.select(client.sockets, [], [], patience)[0]
    found = [client.take(one) for one in ready]
    return sum(a for a, _ in found), sum(b for _, b in found)


def _burst(client: Client, seconds: float, outstanding: int) -> int:
    until = time.monotonic() + seconds
    sent = answered = arrived = 0
    while True:
        now = time.monotonic()
        if now < until and answered + outstanding > sent:
            client.append(answered + outstanding - sent)
            sent = answered + outstanding
        elif now >= until and answered == arrived == sent:
            return sent
        elif now > until + _PATIENCE:
            raise RuntimeError(f"{sent} were sent, {answered} answered, {arrived} came back")
        more = _take(client, 1.0)
        answered, arrived = answered + more[0], arrived + more[1]


def _paced(client: Client, seconds: float, rate: float) -> list[float]:
    begin = time.monotonic()
    total = int(seconds * rate)
    appended: list[float] = []
    delays: list[float] = []
    while len(delays) < total:
        now = time.monotonic()
        due = begin + len(appended) / rate
        if len(appended) < total and now >= due:
            appended.append(now)
            client.append(1)
            continue
        if now > begin + seconds + _PATIENCE:
            raise RuntimeError(f"{len(delays)} of {total} came back")
        _, arrived = _take(client, due - now if len(appended) < total else 1.0)
        now = time.monotonic()
        delays += [now - appended[number] for number in range(len(delays), len(delays) + arrived)]
    return delays


def _file(client: Sqlite, given: argparse.Namespace) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if given.burst:
        phase, count = _Phase(0), 0
        until = time.monotonic() + given.burst
        while time.monotonic() < until:
            client.append(given.group)
            count += given.group
        told["burst"] = phase.over(count) | {"group": given.group}
    if given.paced:
        phase, delays = _Phase(0), []
        begin = time.monotonic()
        for number in range(int(given.paced * given.rate)):
            time.sleep(max(begin + number / given.rate - time.monotonic(), 0))
            now = time.monotonic()
            client.append(1)
            delays.append(time.monotonic() - now)
        told["paced"] = phase.over(len(delays), delays)
    return told


def _bare(given: argparse.Namespace) -> dict[str, Any]:
    data = _data(given.size)
    if given.kind == "sqlite":
        return _file(Sqlite(given.url, data), given)
    packed = record.pack(Draft("bench7", data))
    client: Client = Redis(given.url, packed) if given.kind == "redis" else Nats(given.url, packed)
    told: dict[str, Any] = {}
    if given.burst:
        _burst(client, 0.3, given.outstanding)
        phase = _Phase(given.engine)
        told["burst"] = phase.over(_burst(client, given.burst, given.outstanding))
    if given.paced:
        phase = _Phase(given.engine)
        delays = _paced(client, given.paced, given.rate)
        told["paced"] = phase.over(len(delays), delays)
    return told


# --- our log alone --------------------------------------------------------------------------------


class _Alone:
    """One open log, which is followed as a node does it."""

    def __init__(self, log: Log, size: int) -> None:
        self.log = log
        self._drafts = [[Draft(f"bench{number}", _data(size))] for number in range(100)]
        self.sent = self.answered = self.arrived = 0
        self.appended: list[float] = []
        self.delays: list[float] = []
        self._came = asyncio.Event()

    def append(self) -> None:
        """Append one message."""
        asked = self.log.append(self._drafts[self.sent % 100])
        self.sent += 1
        if asked.done():
            asked.result()
            self.answered += 1
        else:
            asked.add_done_callback(self._told)

    def _told(self, asked: "asyncio.Future[Any]") -> None:
        asked.result()
        self.answered += 1
        self._came.set()

    async def follow(self) -> None:
        """Read what comes back."""
        async for batch in self.log.follow():
            if isinstance(batch, Life | Hole):
                continue
            self.arrived += len(batch)
            now = time.monotonic()
            for number in range(len(self.delays), min(len(self.delays) + len(batch), len(self.appended))):
                self.delays.append(now - self.appended[number])
            self._came.set()

    async def settle(self, *, followed: bool) -> None:
        """Wait until everything is answered and has come back."""
        async with asyncio.timeout(_PATIENCE):
            while self.answered < self.sent or (followed and self.arrived < self.sent):
                self._came.clear()
                await self._came.wait()

    async def burst(self, seconds: float, outstanding: int) -> int:
        """Append for so long, with so many unanswered; return how many it was."""
        before, until = self.sent, time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(outstanding - (self.sent - self.answered)):
                self.append()
            self._came.clear()
            # Where the log answers at once, a turn of the loop is what a turn of the server is.
            await (self._came.wait() if self.sent > self.answered else asyncio.sleep(0))
        await self.settle(followed=True)
        return self.sent - before

    async def paced(self, seconds: float, rate: float, *, followed: bool) -> int:
        """Append at a rate; `delays` has what comes back."""
        before, begin, total = self.sent, time.monotonic(), int(seconds * rate)
        self.delays, self.appended = [], []
        while self.sent - before < total:
            while self.sent - before < min(total, (time.monotonic() - begin) * rate):
                self.appended.append(time.monotonic())
                self.append()
            await asyncio.sleep(0.001)  # the shortest that uvloop knows
        await self.settle(followed=followed)
        return self.sent - before


async def _log(given: argparse.Namespace) -> dict[str, Any]:
    log = open_log(given.url)
    await log.open()
    alone = _Alone(log, given.size)
    following = None if given.deaf else asyncio.create_task(alone.follow())
    told: dict[str, Any] = {}
    if given.burst:
        await alone.burst(0.3, given.outstanding)
        before = int(getattr(log, "commits", 0))
        phase = _Phase(given.engine)
        count = await alone.burst(given.burst, given.outstanding)
        told["burst"] = phase.over(count)
        if commits := int(getattr(log, "commits", 0)) - before:
            told["burst"]["group"] = count / commits
    if given.paced:
        phase = _Phase(given.engine)
        count = await alone.paced(given.paced, given.rate, followed=not given.deaf)
        told["paced"] = phase.over(count, alone.delays)
    if following is not None:
        following.cancel()
        await asyncio.wait([following])
    await log.close()
    return told


def main(argv: Sequence[str]) -> None:
    """Measure, say it, and wait."""
    parser = argparse.ArgumentParser(description="Load an engine without a server around it.")
    parser.add_argument("kind", choices=("log", "redis", "nats", "sqlite"))
    parser.add_argument("url")
    parser.add_argument("--engine", type=int, default=0, help="the process that keeps the log")
    parser.add_argument("--burst", type=float, default=0.0, help="seconds")
    parser.add_argument("--paced", type=float, default=0.0, help="seconds")
    parser.add_argument("--rate", type=float, default=200.0, help="messages a second")
    parser.add_argument("--outstanding", type=int, default=64)
    parser.add_argument("--size", type=int, default=100, help="bytes of a message's data")
    parser.add_argument("--group", type=int, default=64, help="rows of a commit, for sqlite")
    parser.add_argument("--deaf", action="store_true", help="follow nothing")
    given = parser.parse_args(argv)
    told = uvloop.run(_log(given)) if given.kind == "log" else _bare(given)
    print(json.dumps(told), flush=True)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
