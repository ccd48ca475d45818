"""SIGTERM with a crowd: closes spread over the window, exit code 0, and nothing acknowledged is kept back.

    python tests/exactness/drain.py --clients 5000

Every client must have been sent all that its channels had when the server closed it: serve.py's witness
notes where the log stood at each close.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from exactness.book import cursor_of
from exactness.crowd import Heard, Listener, Poster, allow_descriptors, gather_crowd
from exactness.links import Cut, Link
from exactness.lives import Life
from ports import free_port

CHANNELS = tuple(f"room.{number}" for number in range(10))


@dataclass
class Poller:
    """A client that long-polls: `positions` came; `last_answer` is how the last question was answered."""

    channels: tuple[str, ...]
    began: int = -1
    port: int = 0
    last_answer: str = ""

    def __post_init__(self) -> None:
        self.positions: list[int] = []

    async def run(self, port: int, parked: asyncio.Event) -> None:
        """Ask on until the server closes."""
        link = await Link.open(port)
        self.port = link.local_port
        link.patience = 90.0
        cursor = ""
        try:
            while True:
                self.last_answer = "none"
                query = f"?after={cursor}&wait=55" if cursor else ""
                answer = await link.ask("GET", f"/channels/{','.join(self.channels)}{query}")
                parked.set()
                if answer.status != 200:
                    self.last_answer = str(answer.status)
                    return
                value = json.loads(answer.body)
                cursor = value["cursor"]
                if self.began < 0:
                    self.began = cursor_of(cursor).position
                self.positions += [cursor_of(message["id"]).position for message in value["messages"]]
                self.last_answer = "whole" if not value.get("more") else "more"
                if answer.headers.get("connection") == "close":
                    return
                self.last_answer = "none"
        except Cut:
            return
        finally:
            parked.set()
            link.abort()


@dataclass
class Report:
    """What came of it. `seconds` counts the closes in each second of the drain, from the first on."""

    clients: int
    window: float
    code: int | None
    took: float
    head: int
    fullest: int
    seconds: list[int]
    faults: list[str]

    def __str__(self) -> str:
        mean = self.clients / self.window
        lines = [
            f"{self.clients} clients, {self.window:g} s to drain: code {self.code} after {self.took:.1f} s",
            f"closes a second {self.seconds}, in the fullest {self.fullest / mean:.2f} times the mean",
            f"the log stood at {self.head}",
            *self.faults[:12],
            "BROKEN" if self.faults else "everyone was sent everything up to its close",
        ]
        return "\n".join(lines)


async def drain(clients: int, window: float, rate: float, seed: int) -> Report:
    """Gather the crowd, publish, stop the server in the middle of it, and look what everyone had."""
    allow_descriptors(clients * 2 + 1_000)
    with tempfile.TemporaryDirectory() as scratch:
        witness = Path(scratch) / "closes.json"
        life = Life(free_port(), {"drain": window, "log_level": "warning"}, witness)
        try:
            await asyncio.to_thread(life.wait_until_listening)
            return await _drain(life, clients, window, rate, seed, witness)
        finally:
            await asyncio.to_thread(life.kill)


async def _drain(life: Life, clients: int, window: float, rate: float, seed: int, witness: Path) -> Report:
    chance = random.Random(seed)

    def some_channels() -> tuple[str, ...]:
        return tuple(sorted(chance.sample(CHANNELS, chance.randint(1, 3))))

    polling = clients // 6
    plans = [(chance.choice(("websocket", "sse")), some_channels()) for _ in range(clients - polling)]
    crowd = await gather_crowd(life.port, plans)
    pollers = [Poller(some_channels()) for _ in range(polling)]
    parked = [asyncio.Event() for _ in pollers]
    asking = [
        asyncio.create_task(poller.run(life.port, event))
        for poller, event in zip(pollers, parked, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in parked))
    posters = [await Poster(life.port).open() for _ in range(10)]
    publishing = [
        asyncio.create_task(_publish(poster, random.Random(f"{seed}/{number}"), rate / len(posters)))
        for number, poster in enumerate(posters)
    ]
    await asyncio.sleep(2.0)
    began = time.time()
    life.terminate()
    code = await asyncio.to_thread(life.wait, window + 60)
    took = time.time() - began
    deadline = time.time() + 60
    while any(one.ended is None for one in crowd) and time.time() < deadline:  # noqa: ASYNC110  they are thousands
        await asyncio.sleep(0.05)
    for task in publishing:
        task.cancel()
    await asyncio.gather(*publishing, *asking, return_exceptions=True)
    for poster in posters:
        poster.close()
    seen = await asyncio.to_thread(_read, witness)
    faults = [] if code == 0 else [f"the exit code is {code}: {''.join(life.errors)[-3000:]}"]
    faults += _judge(crowd, pollers, posters, seen)
    if any("Traceback" in line or "ERROR" in line for line in life.errors):
        faults.append("the server said:\n" + "".join(life.errors)[-3000:])
    times = sorted(one["time"] for one in seen["closes"].values())
    fullest = max((bisect_left(times, start + 1.0) - index for index, start in enumerate(times)), default=0)
    seconds = [0] * (int(times[-1] - times[0]) + 1) if times else []
    for at in times:
        seconds[int(at - times[0])] += 1
    return Report(clients, window, code, took, seen["head"], fullest, seconds, faults)


def _read(witness: Path) -> dict[str, Any]:
    if not witness.exists():
        return {"closes": {}, "head": 0}
    seen: dict[str, Any] = json.loads(witness.read_text())
    return seen


async def _publish(poster: Poster, chance: random.Random, rate: float) -> None:
    number = 0
    while await poster.post(chance.choice(CHANNELS), {"n": number, "pad": "x" * chance.randrange(300)}):
        number += 1
        await asyncio.sleep(chance.expovariate(rate))


def _judge(
    crowd: list[Listener], pollers: list[Poller], posters: list[Poster], seen: dict[str, Any]
) -> list[str]:
    """Return who was not sent what its channels had at its close."""
    heard = [one.heard() for one in crowd]
    log: dict[int, str] = {}
    for one in heard:
        log.update(zip(one.positions, one.channels, strict=True))
    for poster in posters:
        log.update((cursor_of(identity).position, channel) for identity, channel in poster.acks)
    on: dict[str, list[int]] = {channel: [] for channel in CHANNELS}
    for position in sorted(log):
        on[log[position]].append(position)
    faults: list[str] = []
    closes = seen["closes"]

    def owed(channels: tuple[str, ...], began: int, head: int) -> list[int]:
        return sorted(
            position
            for channel in channels
            for position in on[channel][bisect_right(on[channel], began) : bisect_right(on[channel], head)]
        )

    def check(
        who: str, channels: tuple[str, ...], port: int, heard: Heard | None, poller: Poller | None
    ) -> None:
        close = closes.get(str(port))
        if close is None:
            faults.append(f"{who} was never closed by the server")
            return
        began, positions = (poller.began, poller.positions) if poller else (heard.began, heard.positions)  # type: ignore[union-attr]
        if poller is not None and poller.last_answer != "whole":
            # Told to come back, or between two questions: it holds a cursor, and nothing was owed.
            head = positions[-1] if positions else 0
        else:
            head = close["head"]
        wanted = owed(channels, began, head)
        got = [position for position in positions if position <= head]
        if wanted != got:
            missing = sorted(set(wanted) - set(got))
            faults.append(
                f"{who} on {','.join(channels)} was closed at {head}: missing {missing[:8]}, "
                f"not owed {sorted(set(got) - set(wanted))[:8]}, it heard …{positions[-5:]}"
            )

    for listener, one in zip(crowd, heard, strict=True):
        check(f"a {listener.kind}", listener.channels, listener.port, one, None)
        if listener.ended is None:
            faults.append(f"a {listener.kind} never saw the end")
        tail = b"".join(listener.pieces[-3:])[-300:]
        if b'"end"' not in tail and b"event: end" not in tail:
            faults.append(f"a {listener.kind} ended without a word: {tail!r}")
    for poller in pollers:
        check("a long-poll", poller.channels, poller.port, None, poller)
    return faults


def main(tell: Callable[[str], object] = sys.stdout.write) -> int:
    """Drain from the command line."""
    parser = argparse.ArgumentParser(description="Stop a server with many clients, and see what they had.")
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--window", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    report = asyncio.run(drain(asked.clients, asked.window, asked.rate, asked.seed))
    tell(f"{report}\n")
    even = report.fullest <= 2 * report.clients / report.window
    return 0 if not report.faults and even else 1


if __name__ == "__main__":
    sys.exit(main())
