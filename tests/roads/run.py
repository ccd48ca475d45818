"""The road test as a whole: every road, every listener, one publisher, and a table.

    python tests/roads/run.py [--seconds 30] [--seed N] [--only python|page]

Exit code 0 when everybody was told everything, once and in order, the first of it within five seconds.
The seed is printed, and --seed or ROADS_SEED repeats its choices.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import tidings
from kit import ServerProcess, serving
from roads.book import Verdict, judge, table
from roads.listeners import CHANNEL, Listener, PythonListener, all_have
from roads.mischief import MISHAPS, WALLS, HostileProxy
from roads.proxies import AS_IT_COMES, KINDS, Proxy
from roads.replies import answered, kept, sending

# Nothing is forgotten, so a gap is never the right answer.
KEEPS_ALL = ("--history-count", "200000", "--history-age", "7200")
# Longer than HAProxy's 5 s; in a long run, at times than the 60 s of nginx as it comes.
SILENCES = (6.0,)
LONG_SILENCES = (6.0, 6.0, 70.0)
# A client takes a silent connection for dead after 40 s; then it comes back, and is told what it missed.
CATCH_UP = 75.0

Road = Proxy | HostileProxy


def new_seed() -> int:
    """Return the seed that the environment asks for, or a new one."""
    asked = os.environ.get("ROADS_SEED")
    return int(asked) if asked else random.SystemRandom().randrange(1_000_000)


class Press:
    """Publishes to the server itself, by no road: `ids` are the messages in the log's order."""

    def __init__(self, server: ServerProcess, seed: int | str) -> None:
        self.ids: list[str] = []
        self._publisher = tidings.Publisher(server.url, timeout=60)
        self._chance = random.Random(f"{seed}/press")

    async def publish(self) -> str:
        """Publish one message, and return its id."""
        size = self._chance.choice((0, 20, 200, 2_000))
        receipt = await asyncio.to_thread(
            self._publisher.publish, CHANNEL, {"n": len(self.ids), "pad": "x" * size}
        )
        self.ids.append(receipt.id)
        return receipt.id

    @asynccontextmanager
    async def running(self, silences: Sequence[float] = ()) -> AsyncIterator[None]:
        """Publish about ten a second meanwhile, with bursts, and every 20 s one of these silences."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._run(stop, silences))
        try:
            yield
        finally:
            # Not cancelled: what is on its way to the server must be known when it arrives there.
            stop.set()
            await task

    async def _run(self, stop: asyncio.Event, silences: Sequence[float]) -> None:
        next_silence = time.monotonic() + 10.0
        while not stop.is_set():
            for _ in range(20 if self._chance.random() < 0.02 else 1):
                await self.publish()
            pause = 0.25 * self._chance.random()
            if silences and time.monotonic() > next_silence:
                pause = self._chance.choice(silences)
                next_silence = time.monotonic() + pause + 20.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    def close(self) -> None:
        self._publisher.close()


@asynccontextmanager
async def roads(server: ServerProcess, seed: int | str, folder: Path) -> AsyncIterator[dict[str, Road]]:
    """Yield every road that this machine has, running."""
    built: dict[str, Road] = {
        name: Proxy(kind, server, folder / name.replace(" ", "-").replace(",", ""))
        for name, kind in KINDS.items()
        if kind.program is not None
    }
    built |= {
        name: HostileProxy(server, fate, f"{seed}/{name}") for name, fate in {**WALLS, **MISHAPS}.items()
    }
    try:
        await asyncio.gather(*(road.start() for road in built.values()))
        yield built
    finally:
        await asyncio.gather(*(road.stop() for road in built.values()))


def may_publish(listener: Listener) -> bool:
    """Say whether its road lets it publish: a page's does not where `Host` is not handed on."""
    return (listener.heard.road, listener.heard.client) != (AS_IT_COMES, "page")


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    verdicts: list[Verdict]
    published: int

    @property
    def faults(self) -> list[str]:
        return [fault for verdict in self.verdicts for fault in verdict.faults]

    def chosen(self, road: str) -> set[str]:
        """Return the transports that those who listened behind `road` ended with."""
        heard = [verdict.heard for verdict in self.verdicts if verdict.heard.road == road]
        return {one.transports[-1] if one.transports else "none" for one in heard}

    def __str__(self) -> str:
        told = [f"seed {self.seed}, {self.published:,} published", "", table(self.verdicts), ""]
        return "\n".join([*told, *self.faults])


async def travel(
    seed: int, seconds: float, who: tuple[str, ...], tell: Callable[[str], None] = lambda _line: None
) -> Outcome:
    """Let everybody listen behind every road, break what can be broken for `seconds`, and judge."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving(*KEEPS_ALL))
        ways = await stack.enter_async_context(roads(server, seed, folder))
        press = Press(server, seed)
        stack.callback(press.close)
        listeners: list[Listener] = []
        if "python" in who:
            listeners += [PythonListener(name, way.url) for name, way in ways.items()]
        if "page" in who:
            from roads.pages import pages_behind

            listeners += await stack.enter_async_context(pages_behind(ways))
        for way in ways.values():
            if isinstance(way, HostileProxy):
                way.turn_hostile()
        try:
            async with press.running():
                tell("opening")
                for listener in listeners:
                    await listener.open()
                await all_have(listeners, None, within=20)
            tell(f"mischief for {seconds:g} s")
            silences = SILENCES if seconds <= 120 else LONG_SILENCES
            senders = [one for one in listeners if may_publish(one)]
            async with press.running(silences), sending(senders) as tasks:
                await asyncio.sleep(seconds)
            for name, way in ways.items():
                if isinstance(way, HostileProxy) and name in MISHAPS:
                    way.mend()
            tell("what can be mended is; everyone is to hear the rest")
            await all_have(listeners, await press.publish(), within=CATCH_UP)
            await answered(tasks, senders, within=CATCH_UP)
            log = await kept(server)
            verdicts = [judge(press.ids, await one.look(), log.get(str(one.heard), ())) for one in listeners]
        finally:
            await asyncio.gather(*(listener.close() for listener in listeners))
        faults = [line for line in server.errors if "Traceback" in line]
        assert not faults, "".join(server.errors)
        return Outcome(seed, verdicts, len(press.ids))


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description="Listen behind every road, and see what gets through.")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", choices=("python", "page"), default=None)
    asked = parser.parse_args()
    seed = new_seed() if asked.seed is None else asked.seed
    began = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
        sys.stdout.flush()

    tell(f"seed {seed}")
    who = (asked.only,) if asked.only else ("python", "page")
    outcome = asyncio.run(travel(seed, asked.seconds, who, tell))
    sys.stdout.write(f"\n{outcome}\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
