"""Several nodes on one engine, thousands of clients, and every node restarted one after the other under load.

    python tests/exactness/rolling.py --log redis --clients 3000

A client comes back at any node, over the next transport, with nothing but its cursor. Each must be told every
message of its channels once, in order, without a gap.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from exactness.book import Cursor, cursor_of
from exactness.crowd import allow_descriptors
from exactness.links import Cut, Events, Link, Socket
from exactness.worlds import World, build

ROOMS = tuple(f"room.{number}" for number in range(12))
TRANSPORTS = ("polling", "long-polling", "sse", "websocket")


@dataclass
class Report:
    """What came of it."""

    published: int
    delivered: int
    connections: Counter[str]
    took: float
    caught_up: float
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.published} published, {self.delivered} delivered, connections {dict(self.connections)}",
            f"all nodes restarted in {self.took:.1f} s; all had everything {self.caught_up:.1f} s later",
            *self.faults[:12],
            f"BROKEN: {len(self.faults)}" if self.faults else "nobody missed or repeated anything",
        ]
        return "\n".join(lines)


class Wanderer:
    """One client, which keeps only its cursor."""

    def __init__(self, number: int, chance: random.Random, ports: tuple[int, ...]) -> None:
        self.name = f"client {number}"
        self.channels = tuple(sorted(chance.sample(ROOMS, chance.randint(1, 3))))
        self.cursor = ""
        self.began = -1
        self.heard: list[tuple[int, str]] = []
        self.faults: list[str] = []
        self.connections: Counter[str] = Counter()
        self._chance = chance
        self._ports = ports
        self._turn = number
        self._target = f"/channels/{','.join(self.channels)}"

    def has(self, goal: dict[str, Cursor]) -> bool:
        """Whether it has all up to the last message of each of its channels."""
        here = cursor_of(self.cursor).position if self.cursor else -1
        return here >= max(goal[channel].position for channel in self.channels)

    async def run(self, stop: asyncio.Event, begun: Callable[[], None]) -> None:
        """Listen, and come back, until `stop`."""
        while not stop.is_set():
            self._turn += 1
            transport = TRANSPORTS[self._turn % 4]
            try:
                link = await Link.open(self._chance.choice(self._ports))
            except Cut:
                await asyncio.sleep(self._chance.random() * 0.3)
                continue
            link.patience = 70.0
            self.connections[transport] += 1
            try:
                await self._listen(link, transport, begun)
            except Cut:
                await asyncio.sleep(self._chance.random() * 0.3)
            finally:
                link.abort()

    async def _listen(self, link: Link, transport: str, begun: Callable[[], None]) -> None:
        target = self._target + (f"?after={self.cursor}" if self.cursor else "")
        match transport:
            case "sse":
                events = await Events.open(link, target)
                while True:
                    fields = await events.block()
                    if "data" not in fields:
                        continue
                    self._told(fields.get("event", "message"), json.loads(fields["data"]), begun)
            case "websocket":
                socket = await Socket.open(link, target)
                while True:
                    said = json.loads(await socket.said())
                    word = next(iter(said))
                    self._told(word, said[word], begun)
            case _:
                waits = transport == "long-polling"
                while True:
                    query = f"?after={self.cursor}" + ("&wait=20" if waits else "") if self.cursor else ""
                    answer = await link.ask("GET", self._target + query)
                    if answer.status != 200:
                        raise Cut(f"answered {answer.status}")
                    body = json.loads(answer.body)
                    for gap in body.get("gap", ()):
                        self._told("gap", gap, begun)
                    for message in body["messages"]:
                        self._told("message", message, begun)
                    self._stand(body["cursor"], begun)
                    if answer.headers.get("connection") == "close":
                        raise Cut("the server closes")
                    if not waits:
                        await asyncio.sleep(0.5 + self._chance.random())

    def _told(self, word: str, value: dict[str, str], begun: Callable[[], None]) -> None:
        if word == "ready":
            if not self.cursor:
                self._stand(value["cursor"], begun)
        elif word == "gap":
            self.faults.append(f"{self.name} at {self.cursor} was told {value}")
            self.cursor = value["resumed"]
        elif word in ("message", "data"):
            position = cursor_of(value["id"]).position
            last = self.heard[-1][0] if self.heard else self.began
            if position <= last:
                self.faults.append(f"{self.name} had {last} and was told {value['id']}")
            self.heard.append((position, value["channel"]))
            self.cursor = value["id"]

    def _stand(self, cursor: str, begun: Callable[[], None]) -> None:
        if self.began < 0:
            self.began = cursor_of(cursor).position
            begun()
        # An empty answer may name an earlier place that means the same.
        if not self.cursor or cursor_of(cursor) >= cursor_of(self.cursor):
            self.cursor = cursor


class Poster:
    """Publishes one message after another, each until it is acknowledged, at any node."""

    def __init__(self, name: str, chance: random.Random, ports: tuple[int, ...]) -> None:
        self.acknowledged: dict[Cursor, str] = {}
        self._name = name
        self._chance = chance
        self._ports = ports

    async def run(self, stop: asyncio.Event, rate: float) -> None:
        """Publish until `stop`."""
        number = 0
        while not stop.is_set():
            number += 1
            await self.publish(self._chance.choice(ROOMS), number)
            await asyncio.sleep(self._chance.expovariate(rate))

    async def publish(self, channel: str, number: int) -> Cursor:
        """Publish one message, and return its place."""
        body = json.dumps({"p": self._name, "n": number}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{self._name}-{number}"}
        while True:
            try:
                link = await Link.open(self._chance.choice(self._ports))
            except Cut:
                await asyncio.sleep(0.05)
                continue
            try:
                answer = await link.ask("POST", f"/channels/{channel}", headers, body)
                if answer.status in (200, 201):
                    cursor = cursor_of(json.loads(answer.body)["id"])
                    self.acknowledged[cursor] = channel
                    return cursor
            except Cut:
                pass
            finally:
                link.abort()
            await asyncio.sleep(0.05)


async def roll(log: str, clients: int, rate: float, seed: int, tell: Callable[[str], None]) -> Report:
    """Gather the clients, publish, restart every node in turn, and look what everyone has."""
    allow_descriptors(2 * clients + 1_000)
    settings = {"drain": 3.0, "log_level": "warning"}
    world = await asyncio.to_thread(build, log, settings)
    try:
        return await _roll(world, clients, rate, random.Random(seed), tell)
    finally:
        await asyncio.to_thread(world.close)


async def _roll(
    world: World, clients: int, rate: float, chance: random.Random, tell: Callable[[str], None]
) -> Report:
    stop, quiet = asyncio.Event(), asyncio.Event()
    wanderers = [Wanderer(n, random.Random(chance.random()), world.ports) for n in range(clients)]
    posters = [Poster(f"p{n}", random.Random(chance.random()), world.ports) for n in range(4)]
    begun = 0

    def one_more() -> None:
        nonlocal begun
        begun += 1

    tasks: list[asyncio.Task[None]] = []
    for start in range(0, clients, 100):
        tasks += [asyncio.create_task(one.run(stop, one_more)) for one in wanderers[start : start + 100]]
        await _until(lambda: begun >= min(start + 100, clients), 60)  # noqa: B023  awaited here
    tell(f"{clients} clients listen")
    posting = [asyncio.create_task(poster.run(quiet, rate / len(posters))) for poster in posters]
    await asyncio.sleep(1)
    began = time.monotonic()
    await world.strike("rolling", 0.0, 0.0, tell)
    took = time.monotonic() - began
    await asyncio.sleep(1)
    quiet.set()
    await asyncio.gather(*posting)
    goal = {room: await posters[0].publish(room, 1_000_000 + n) for n, room in enumerate(ROOMS)}
    began = time.monotonic()
    try:
        await _until(lambda: all(one.has(goal) for one in wanderers), 120)
    finally:
        caught_up = time.monotonic() - began
        stop.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    report = Report(0, 0, Counter(), took, caught_up, [*world.faults, *world.tracebacks()])
    acknowledged = {cursor: channel for poster in posters for cursor, channel in poster.acknowledged.items()}
    report.published = len(acknowledged)
    for one in wanderers:
        report.connections.update(one.connections)
        report.delivered += len(one.heard)
        report.faults += one.faults
        due = {
            (c.position, channel)
            for c, channel in acknowledged.items()
            if channel in one.channels and c.position > one.began
        }
        if missing := due - set(one.heard):
            report.faults.append(f"{one.name} never heard {sorted(missing)[:5]} of {len(missing)}")
        if more := set(one.heard) - due:
            report.faults.append(f"{one.name} heard {sorted(more)[:5]}, which nobody was acknowledged")
    return report


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it never came about")
        await asyncio.sleep(0.05)


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description="Restart every node in turn under thousands of clients.")
    parser.add_argument("--log", choices=("redis", "nats"), default="redis")
    parser.add_argument("--clients", type=int, default=3_000)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    report = asyncio.run(
        roll(asked.log, asked.clients, asked.rate, asked.seed, lambda line: print(line, flush=True))  # noqa: T201
    )
    sys.stdout.write(f"{report}\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
