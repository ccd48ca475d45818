"""One run of the proof: everything is started, broken, mended and judged.

    python tests/exactness/run.py [--seconds 300] [--seed N] [--subscribers 40]

Exit code 0 when every promise was kept, 1 when one was broken; the report says which client, on which
connection, and what stood around it. The seed is printed, and EXACTNESS_SEED or --seed repeats its
choices.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from exactness.book import Book, Sent, checksum
from exactness.chaos_proxy import ChaosProxy
from exactness.checker import Retention, check
from exactness.links import Cut, Link, figures
from exactness.lives import Lives
from exactness.nemesis import Blow, Nemesis, schedule
from exactness.publishers import Publisher
from exactness.subscribers import Subscriber
from exactness.truth import Truth

# On the last two a reader that is behind hears only the newest value of each key.
BUSY = (*(f"ch.{number:02}" for number in range(18)), "state.0", "state.1")
QUIET = tuple(f"quiet.{number:03}" for number in range(108))
EVERY = BUSY + QUIET
MIB = 1024 * 1024


@dataclass(frozen=True)
class Scale:
    """How much there is of what. `count` and `age` are the server's retention; `drain` is seconds."""

    subscribers: int = 40
    broad: int = 3
    publishers: int = 6
    rate: float = 10.0
    burst: int = 80
    count: int = 100
    age: float = 60.0
    drain: float = 1.0
    patience: float = 60.0
    weights: dict[str, int] | None = None
    pace: float = 1.0
    forgets: bool = True


@dataclass
class Verdict:
    """What a run came to. Without faults every promise was kept."""

    seed: int
    faults: list[str]
    figures: dict[str, object]
    book: Book

    def __str__(self) -> str:
        lines = [f"  {name}: {value}" for name, value in self.figures.items()]
        if not self.faults:
            return "\n".join([f"every promise was kept (seed {self.seed})", *lines])
        told = "\n\n".join(self.faults)
        return "\n".join(
            [*lines, "", told, "", f"BROKEN: {len(self.faults)} (repeat with EXACTNESS_SEED={self.seed})"]
        )


def new_seed() -> int:
    """Return the seed that the environment asks for, or a new one."""
    asked = os.environ.get("EXACTNESS_SEED")
    return int(asked) if asked else random.SystemRandom().randrange(1_000_000)


async def prove(
    seed: int,
    seconds: float,
    scale: Scale | None = None,
    tell: Callable[[str], None] = lambda _line: None,
    blows: list[Blow] | None = None,
) -> Verdict:
    """Run for about `seconds`, judge, and return the verdict."""
    scale = scale or Scale()
    settings: dict[str, object] = {
        "history_count": scale.count,
        "history_age": scale.age,
        "drain": scale.drain,
    }
    settings["slow"] = [["state.*", "latest"]]
    lives = await asyncio.to_thread(Lives, settings)
    book = Book()
    try:
        return await _Run(seed, seconds, scale, tell, lives, book).all(blows)
    finally:
        await asyncio.to_thread(lives.now.kill)


class _Run:
    def __init__(
        self,
        seed: int,
        seconds: float,
        scale: Scale,
        tell: Callable[[str], None],
        lives: Lives,
        book: Book,
    ) -> None:
        self._seed = seed
        self._seconds = seconds
        self._scale = scale
        self._say = tell
        self._lives = lives
        self._book = book
        self._proxy = ChaosProxy(lives.host, lives.port, seed)
        self._truths: list[Truth] = []
        self._began = time.monotonic()

    def _tell(self, line: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {line}")

    async def all(self, blows: list[Blow] | None) -> Verdict:
        """Everything, in order."""
        self._base = await self._figures()
        await self._reborn()
        publishers, subscribers = await self._people()
        stop, still = asyncio.Event(), asyncio.Event()
        nemesis = Nemesis(self._lives, self._proxy, self._reborn, self._tell)
        self._proxy.mood = "mixed"
        speaking = [asyncio.create_task(publisher.run(stop)) for publisher in publishers]
        listening = [asyncio.create_task(subscriber.run(still)) for subscriber in subscribers]
        watch = asyncio.create_task(self._watch())
        try:
            if blows is None:
                blows = schedule(self._seed, self._seconds, self._scale.weights)
            await nemesis.run(blows)
            stop.set()
            await asyncio.gather(*speaking)
            still.set()
            await asyncio.gather(*listening)
            marks = await self._marks()
            self._tell("all is mended; everyone comes back to hear the rest")
            await asyncio.gather(*(one.finish(marks, self._scale.patience) for one in subscribers))
        finally:
            watch.cancel()
            for task in (*speaking, *listening):
                task.cancel()
            await asyncio.gather(watch, *speaking, *listening, return_exceptions=True)
            await self._proxy.close()
        await asyncio.to_thread(self._truths[-1].stop)
        faults = [*nemesis.faults, *await self._back_at_base(), *self._lives.tracebacks()]
        faults += check(self._book, Retention(self._scale.count, self._scale.age))
        return Verdict(self._seed, faults, self._summary(nemesis, publishers), self._book)

    async def _people(self) -> tuple[list[Publisher], list[Subscriber]]:
        chance = random.Random(f"{self._seed}/people")
        scale, port = self._scale, self._lives.port
        publishers = []
        for number in range(scale.publishers):
            name = f"pub{number}"
            channels, burst, sizes = (
                (*chance.sample(BUSY, 8), *chance.sample(QUIET, 1)),
                scale.burst // 4,
                (0, 20_000),
            )
            if number == 0:
                # Few channels, many messages: their windows overflow.
                channels, burst, sizes = BUSY[:2], scale.burst * 3, (0, 300)
            elif number == 1:
                # Large ones all at once: a turn of the server's loop has more than one write takes.
                channels, burst, sizes = BUSY[1:4], scale.burst // 2, (6_000, 20_000)
            publishers.append(
                Publisher(
                    self._book,
                    name,
                    self._seed,
                    channels,
                    port=port,
                    door=(await self._proxy.door(name)).port,
                    rate=scale.rate * (0.5 + chance.random()),
                    burst=burst,
                    sizes=sizes,
                )
            )
        subscribers = []
        for number in range(scale.subscribers):
            name = f"sub{number}"
            channels = EVERY if number < scale.broad else tuple(chance.sample(BUSY, chance.randint(1, 5)))
            door = (await self._proxy.door(name)).port
            subscribers.append(
                Subscriber(
                    self._book,
                    name,
                    self._seed,
                    channels,
                    BUSY,
                    port=port,
                    door=door,
                    pace=scale.pace,
                    forgets=scale.forgets,
                )
            )
        return publishers, subscribers

    async def _reborn(self) -> None:
        """A new life listens: its undisturbed subscriber comes first."""
        name = f"the undisturbed subscriber of life {self._lives.count}"
        truth = await asyncio.to_thread(Truth, self._book, self._lives.port, EVERY, name)
        self._truths.append(truth)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(10)
            self._tell(
                f"{len(self._book.sent)} published, {self._book.deliveries} delivered, "
                f"{sum(map(len, self._book.sessions.values()))} connections, {len(self._book.broken)} broken"
            )

    async def _marks(self) -> dict[str, str]:
        """Publish the last message of each channel, and return its id."""
        marks = {}
        link = await Link.open(self._lives.port)
        for number, channel in enumerate(EVERY, 1):
            body = f'{{"p":"last","n":{number},"pad":"","sum":{checksum("last", number, "")}}}'.encode()
            sent = Sent("last", number, (channel,), hash(body), None, attempts=1)
            self._book.sent["last", number] = sent
            began = time.time()
            answer = await link.ask(
                "POST", f"/channels/{channel}", {"Content-Type": "application/json"}, body
            )
            assert answer.status == 201, answer
            marks[channel] = answer.body.decode().split('"')[3]
            sent.acks.append(({channel: marks[channel]}, False, began, time.time()))
        link.abort()
        last = max(int(mark.rpartition("-")[2]) for mark in marks.values())
        if not await asyncio.to_thread(self._truths[-1].reach, last, self._scale.patience):
            self._book.broken.append(
                f"the undisturbed subscriber never heard up to {last}; it is at {self._truths[-1].last}"
            )
        return marks

    # --- back at the base line ---------------------------------------------------------------------

    async def _figures(self) -> dict[str, float]:
        life = self._lives.now
        told = await figures(self._lives.port)
        return {**told, "descriptors": life.descriptors, "memory": life.memory}

    async def _back_at_base(self) -> list[str]:
        """With everyone gone nothing is left of them. Waits up to a minute: some must be found dead first."""
        deadline = time.monotonic() + 60
        now: dict[str, float] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(Cut, OSError):
                now = await self._figures()
                over = [
                    name
                    for name in (
                        "tidings_connections",
                        "tidings_live_subscribers",
                        "tidings_cohorts",
                        "descriptors",
                    )
                    if now[name] > self._base[name]
                ]
                if not over:
                    break
            await asyncio.sleep(0.25)
        else:
            return [f"with all clients gone the server still has {now}; it began with {self._base}"]
        # What is kept is kept; the rest is the allocator's, the parsers' and the idempotency keys'.
        grown = now["memory"] - self._base["memory"] - 1.5 * now["tidings_history_bytes"]
        self._grown = grown
        if grown > 48 * MIB:
            return [f"with all clients gone the server holds {grown / MIB:.0f} MiB more than at its start"]
        return []

    def _summary(self, nemesis: Nemesis, publishers: list[Publisher]) -> dict[str, object]:
        kinds: Counter[str] = Counter()
        for sessions in self._book.sessions.values():
            for session in sessions:
                kinds[session.transport] += 1
                for event in session.events:
                    if event[0] in ("message", "gap", "same", "ok", "end"):
                        kinds["gap " + event[4] if event[0] == "gap" else event[0]] += 1
        return {
            "published": f"{len(self._book.sent)}, {sum(p.given_up for p in publishers)} given up unanswered",
            "delivered": self._book.deliveries,
            "subscribers heard": dict(sorted(kinds.items())),
            "lives": self._lives.count,
            "blows": dict(nemesis.struck),
            "proxy": dict(self._proxy.met),
            "memory over the base line": f"{getattr(self, '_grown', float('nan')) / MIB:.1f} MiB",
        }


def main() -> int:
    """Run the long proof from the command line."""
    parser = argparse.ArgumentParser(
        description="Break everything for a while, and judge what was delivered."
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--subscribers", type=int, default=40)
    asked = parser.parse_args()
    seed = new_seed() if asked.seed is None else asked.seed
    sys.stdout.write(f"seed {seed}, {asked.seconds:g} s\n")

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    verdict = asyncio.run(prove(seed, asked.seconds, Scale(subscribers=asked.subscribers), tell))
    sys.stdout.write(f"{verdict}\n")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
