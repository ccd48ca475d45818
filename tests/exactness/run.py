"""One run of the proof: everything is started, broken, mended and judged.

    python tests/exactness/run.py [--log memory|sqlite|…] [--seconds 300] [--seed N] [--subscribers 40]

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

from exactness.book import Book, Sent, checksum, cursor_of
from exactness.chaos_proxy import ChaosProxy
from exactness.checker import Retention, check
from exactness.links import Cut, Link, figures
from exactness.nemesis import Blow, Nemesis, schedule
from exactness.publishers import Publisher
from exactness.subscribers import Subscriber
from exactness.truth import Truth
from exactness.worlds import NAMES, World, build

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
    log: str = "memory",
) -> Verdict:
    """Run for about `seconds` against the world of that `log` (worlds.py), judge, and return the verdict."""
    scale = scale or Scale()
    settings: dict[str, object] = {
        "history_count": scale.count,
        "history_age": scale.age,
        "drain": scale.drain,
    }
    settings["slow"] = [["state.*", "latest"]]
    world = await asyncio.to_thread(build, log, settings)
    book = Book()
    try:
        return await _Run(seed, seconds, scale, tell, world, book).all(blows)
    finally:
        await asyncio.to_thread(world.close)


class _Run:
    def __init__(
        self,
        seed: int,
        seconds: float,
        scale: Scale,
        tell: Callable[[str], None],
        world: World,
        book: Book,
    ) -> None:
        self._seed = seed
        self._seconds = seconds
        self._scale = scale
        self._say = tell
        self._world = world
        self._book = book
        self._proxy = ChaosProxy("127.0.0.1", world.ports, seed)
        self._began = time.monotonic()

    def _tell(self, line: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {line}")

    async def all(self, blows: list[Blow] | None) -> Verdict:
        """Everything, in order."""
        self._base = await self._figures()
        truths = self._world.truths
        for group in self._world.groups(EVERY):
            truths.append(Truth(self._book, self._world.nodes[0].port, group))
            await asyncio.to_thread(truths[-1].wait_begun, 1)
        publishers, subscribers = await self._people()
        stop, still = asyncio.Event(), asyncio.Event()
        nemesis = Nemesis(self._world, self._proxy, self._tell)
        self._proxy.mood = "mixed"
        speaking = [asyncio.create_task(publisher.run(stop)) for publisher in publishers]
        listening = [asyncio.create_task(subscriber.run(still)) for subscriber in subscribers]
        watch = asyncio.create_task(self._watch())
        try:
            if blows is None:
                blows = schedule(self._seed, self._seconds, self._scale.weights or self._world.weights)
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
        for truth in truths:
            await asyncio.to_thread(truth.stop)
        faults = [*self._world.faults, *await self._back_at_base(), *self._world.tracebacks()]
        faults += self._lives_and_epochs()
        retention = Retention(self._scale.count, self._scale.age, self._world.cut)
        faults += check(self._book, retention, may_refuse=1013 in self._world.codes)
        return Verdict(self._seed, faults, self._summary(nemesis, publishers), self._book)

    async def _people(self) -> tuple[list[Publisher], list[Subscriber]]:
        chance = random.Random(f"{self._seed}/people")
        scale, ports = self._scale, self._world.ports
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
                    ports=ports,
                    door=(await self._proxy.door(name)).port,
                    rate=scale.rate * (0.5 + chance.random()),
                    burst=burst,
                    sizes=sizes,
                    durability=self._world.durability,
                )
            )
        subscribers = []
        groups, busy = self._world.groups(EVERY), self._world.groups(BUSY)
        for number in range(scale.subscribers):
            name = f"sub{number}"
            mine, mine_busy = groups[number % len(groups)], busy[number % len(busy)]
            few = tuple(chance.sample(mine_busy, chance.randint(1, min(5, len(mine_busy)))))
            channels = mine if number < scale.broad else few
            door = (await self._proxy.door(name)).port
            subscribers.append(
                Subscriber(
                    self._book,
                    name,
                    self._seed,
                    channels,
                    mine_busy,
                    ports=ports,
                    door=door,
                    codes=self._world.codes,
                    pace=scale.pace,
                    forgets=scale.forgets,
                )
            )
        return publishers, subscribers

    def _lives_and_epochs(self) -> list[str]:
        """A log in memory is new with each process; one that lasts goes on."""
        epochs = len(self._book.epochs)
        if self._world.lasts:
            most = (1 + getattr(self._world, "emptied", 0)) * self._world.partitions
            return [f"{epochs} epochs, and there was reason for {most}"] if epochs > most else []
        due = self._world.lives
        return [] if epochs == due else [f"{due} lives in memory had {epochs} epochs"]

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
        link = await Link.open(self._world.ports[0])
        for number, channel in enumerate(EVERY, 1):
            body = f'{{"p":"last","n":{number},"pad":"","sum":{checksum("last", number, "")}}}'.encode()
            key = f"last/{number}"
            sent = Sent("last", number, (channel,), hash(body), key)
            self._book.sent["last", number] = sent
            began = time.time()
            headers = {"Content-Type": "application/json", "Idempotency-Key": key}
            deadline = time.monotonic() + self._scale.patience
            while True:
                # What the log stands on may still be coming back.
                sent.attempts += 1
                answer = await link.ask("POST", f"/channels/{channel}", headers, body)
                if answer.status != 503 or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.1)
            assert answer.status in (200, 201), answer
            marks[channel] = answer.body.decode().split('"')[3]
            sent.acks.append(({channel: marks[channel]}, answer.status == 200, began, time.time()))
        link.abort()
        for truth, group in zip(self._world.truths, self._world.groups(EVERY), strict=True):
            last = max((cursor_of(marks[channel]) for channel in group), key=lambda cursor: cursor.position)
            if not await asyncio.to_thread(truth.reach, last, self._scale.patience):
                self._book.broken.append(
                    f"the undisturbed subscriber never heard up to {last}; it is at {truth.place}"
                )
        return marks

    # --- back at the base line ---------------------------------------------------------------------

    async def _figures(self) -> dict[str, float]:
        """Return the figures of all nodes together."""
        now: Counter[str] = Counter()
        for node in self._world.nodes:
            told = await figures(node.port)
            now.update({**told, "descriptors": node.now.descriptors, "memory": node.now.memory})
        return dict(now)

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
        if grown > 48 * MIB * len(self._world.nodes):
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
            "pushed out before the undisturbed subscriber had it": len(self._book.pushed_out),
            "lives": self._world.lives,
            "epochs": len(self._book.epochs),
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
    parser.add_argument("--log", choices=NAMES, default="memory")
    asked = parser.parse_args()
    seed = new_seed() if asked.seed is None else asked.seed
    sys.stdout.write(f"log {asked.log}, seed {seed}, {asked.seconds:g} s\n")

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    verdict = asyncio.run(
        prove(seed, asked.seconds, Scale(subscribers=asked.subscribers), tell, log=asked.log)
    )
    sys.stdout.write(f"{verdict}\n")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
