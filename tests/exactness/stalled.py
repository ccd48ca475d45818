"""Some of many readers stop reading: what do the others notice, and what does the server pay?

    python tests/exactness/stalled.py --readers 1000 --stalled 100

Phases without and with stalled readers take turns in one run on the same connections; after each the
stalled ones read again and catch up. The delay is taken from the moment at which a message was due, over
a sample of the readers that never stall. Promised is a p99 at most 1.2 times that of the phases without.
"""

import argparse
import asyncio
import re
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from exactness.crowd import Listener, allow_descriptors, gather_crowd
from exactness.links import Link
from exactness.lives import Life
from ports import free_port
from raw import head_of

_STAMP = re.compile(rb'"due":([0-9]+),"n":([0-9]+),')
_GAP = re.compile(rb'"resumed":"[0-9a-z]+-([0-9]+)"')
MIB = 1024 * 1024


class Tally:
    """What one reader counts: messages, the last number, gaps; and delays in seconds where it is sampled."""

    def __init__(self, *, sampled: bool) -> None:
        self.count = 0
        self.last = -1
        self.missed = 0
        self.out_of_order = 0
        self.gaps = 0
        self.delays: list[float] = []
        self._sampled = sampled
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Count what came; a message may come in pieces."""
        now = time.monotonic_ns()
        data = self._rest + data
        end = 0
        for found in _STAMP.finditer(data):
            number = int(found[2])
            end = found.end()
            if number <= self.last:
                self.out_of_order += 1
            self.missed += number - self.last - 1
            self.last = number
            self.count += 1
            if self._sampled:
                self.delays.append((now - int(found[1])) / 1e9)
        self._rest = data[max(end, len(data) - 200) :]
        if b'{"gap"' in data or b"event: gap" in data:
            self.gaps += len(_GAP.findall(data))


@dataclass
class Phase:
    """One phase: delays of the sample in seconds, and the server's memory at its end in bytes."""

    stalled: int
    delays: list[float]
    memory: int

    def __str__(self) -> str:
        return (
            f"  {self.stalled:4} stalled: p50 {self.p50 * 1e3:6.2f} ms, p99 {self.p99 * 1e3:6.2f} ms "
            f"({len(self.delays)} delays), server {self.memory / MIB:.1f} MiB"
        )

    @property
    def p99(self) -> float:
        """Seconds."""
        return statistics.quantiles(self.delays, n=100)[98]

    @property
    def p50(self) -> float:
        """Seconds."""
        return statistics.median(self.delays)


@dataclass
class Report:
    """What the phases came to. `faults` are promises that do not depend on the machine's speed."""

    readers: int
    stalled: int
    phases: list[Phase]
    memory_before: int
    faults: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The p99 with stalled readers over the p99 without; medians over the phases."""
        with_them = statistics.median(phase.p99 for phase in self.phases if phase.stalled)
        without = statistics.median(phase.p99 for phase in self.phases if not phase.stalled)
        return with_them / without

    def __str__(self) -> str:
        lines = [f"{self.readers} readers, {self.stalled} of them stalled in every second phase"]
        lines += [str(phase) for phase in self.phases]
        lines.append(f"p99 with stalled readers / without: {self.ratio:.2f} (promised: at most 1.2)")
        return "\n".join([*lines, *self.faults[:20], *(["BROKEN"] if self.faults else [])])


async def stall(
    readers: int, stalled: int, *, rate: float, seconds: float, size: int, turns: int, sample: int
) -> Report:
    """Run `turns` pairs of phases of `seconds` each, with `rate` messages a second of `size` bytes."""
    allow_descriptors(readers * 2 + 1_000)
    life = Life(free_port(), {"log_level": "warning"})
    try:
        await asyncio.to_thread(life.wait_until_listening)
        every = max(1, (readers - stalled) // sample) | 1  # odd, so that both transports are sampled
        tallies = [Tally(sampled=n >= stalled and n % every == 0) for n in range(readers)]
        plans: list[tuple[str, tuple[str, ...]]] = [
            ("websocket" if n % 2 else "sse", ("room",)) for n in range(readers)
        ]
        crowd = await gather_crowd(life.port, plans, [tally.take for tally in tallies])
        run = _Run(life, crowd, tallies, stalled, rate, size)
        report = Report(readers, stalled, [], life.memory)
        await run.phase(1.0, 0)  # the first messages pay for what is made once
        for _ in range(turns):
            report.phases.append(await run.phase(seconds, 0))
            report.phases.append(await run.phase(seconds, stalled))
        report.faults = run.faults
        for listener in crowd:
            listener.abort()
        return report
    finally:
        await asyncio.to_thread(life.kill)


class _Run:
    def __init__(
        self, life: Life, crowd: list[Listener], tallies: list[Tally], stalled: int, rate: float, size: int
    ) -> None:
        self.faults: list[str] = []
        self._life = life
        self._crowd = crowd
        self._tallies = tallies
        self._stalled = stalled
        self._rate = rate
        self._size = size
        self._sent = 0

    async def phase(self, seconds: float, stalled: int) -> Phase:
        """Publish for `seconds` with so many readers stalled, then let everyone catch up."""
        for tally in self._tallies:
            tally.delays = []
        for listener in self._crowd[:stalled]:
            listener.pause()
        await self._publish(seconds)
        await self._until(self._tallies[stalled:], "a reader")
        phase = Phase(
            stalled, [delay for tally in self._tallies for delay in tally.delays], self._life.memory
        )
        for listener in self._crowd[:stalled]:
            listener.resume()
        await self._until(self._tallies[:stalled], "a stalled reader")
        for tally in self._tallies:
            if tally.out_of_order:
                self.faults.append(f"a reader heard {tally.out_of_order} messages out of order or twice")
            if tally.missed and not tally.gaps:
                self.faults.append(f"a reader missed {tally.missed} messages, and no gap was told")
        if gone := sum(listener.ended is not None for listener in self._crowd):
            self.faults.append(f"{gone} readers were closed")
        for tally in self._tallies[self._stalled :]:
            if tally.missed:
                self.faults.append(f"a reader that reads at once missed {tally.missed} messages")
        return phase

    async def _publish(self, seconds: float) -> None:
        """Publish open-loop: message k is due at its time, and no answer is waited for."""
        link = await Link.open(self._life.port)
        answers = asyncio.create_task(self._read_answers(link, int(seconds * self._rate)))
        begin = time.monotonic_ns()
        pad = "x" * self._size
        for number in range(int(seconds * self._rate)):
            due = begin + int(number * 1e9 / self._rate)
            if (ahead := (due - time.monotonic_ns()) / 1e9) > 0:
                await asyncio.sleep(ahead)
            body = b'{"due":%d,"n":%d,"pad":"%b"}' % (due, self._sent, pad.encode())
            self._sent += 1
            await link.send(
                head_of("POST", "/channels/room", {"Content-Type": "application/json"}, body) + body
            )
        await answers
        link.abort()

    async def _read_answers(self, link: Link, count: int) -> None:
        link.patience = 60.0
        for _ in range(count):
            answer = await link.answer()
            assert answer.status == 201, answer

    async def _until(self, tallies: list[Tally], who: str) -> None:
        deadline = time.monotonic() + 60
        while any(tally.last < self._sent - 1 for tally in tallies):
            if time.monotonic() > deadline:
                behind = sum(tally.last < self._sent - 1 for tally in tallies)
                self.faults.append(f"{who} (of {behind}) never heard up to {self._sent - 1}")
                return
            await asyncio.sleep(0.02)


def main() -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="Stall some of many readers, and measure the others.")
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--stalled", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--size", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    try:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    except ImportError:
        pass
    report = asyncio.run(
        stall(
            asked.readers,
            asked.stalled,
            rate=asked.rate,
            seconds=asked.seconds,
            size=asked.size,
            turns=asked.turns,
            sample=200,
        )
    )
    sys.stdout.write(f"{report}\n")
    return 1 if report.faults or report.ratio > 1.2 else 0


if __name__ == "__main__":
    sys.exit(main())
