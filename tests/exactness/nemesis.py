"""The nemesis: chooses beforehand, from the seed, what breaks when, and breaks it.

Owns: the schedule. Does not own: how a connection breaks (chaos_proxy.py), how the server dies (lives.py).
Invariant: every life of the server has its undisturbed subscriber before the next blow falls.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from exactness.chaos_proxy import MOODS, ChaosProxy
from exactness.lives import Lives


@dataclass(frozen=True)
class Blow:
    """One thing that breaks, `pause` seconds after the one before."""

    pause: float
    kind: str
    mood: str = ""
    seconds: float = 0.0


# How often each is drawn, and the ones that every run has, however short.
_WEIGHTS = {"mood": 12, "cut": 4, "freeze": 3, "kill": 3, "drain": 3}


def schedule(seed: int | str, seconds: float, weights: dict[str, int] | None = None) -> list[Blow]:
    """Return what breaks in a run of so many seconds; each kind comes at least once."""
    chance = random.Random(f"{seed}/nemesis")
    weights = weights or _WEIGHTS
    blows: list[Blow] = []
    left = seconds
    required = list(weights)
    chance.shuffle(required)
    while True:
        pause = 0.5 + 2.5 * chance.random()
        kind = chance.choices(list(weights), list(weights.values()))[0]
        if required and (chance.random() < 0.5 or left < 3.5 * len(required)):
            kind = required.pop()
        length = 0.3 + 1.7 * chance.random() if kind == "freeze" else 0.0
        mood = chance.choice([*MOODS, "mixed", "mixed"]) if kind == "mood" else ""
        left -= pause + length + (1.0 if kind in ("kill", "drain") else 0.0)
        blows.append(Blow(pause, kind, mood, length))
        if left < 0 and not required:
            return blows


class Nemesis:
    """Carries out a schedule. `reborn` is awaited whenever a new life listens."""

    def __init__(
        self,
        lives: Lives,
        proxy: ChaosProxy,
        reborn: Callable[[], Awaitable[None]],
        tell: Callable[[str], None],
        *,
        drain_within: float = 60.0,
    ) -> None:
        self.struck: Counter[str] = Counter()
        self.faults: list[str] = []
        self._lives = lives
        self._proxy = proxy
        self._reborn = reborn
        self._tell = tell
        self._drain_within = drain_within

    async def run(self, blows: list[Blow]) -> None:
        """Strike all of `blows`, then leave everything whole."""
        for blow in blows:
            await asyncio.sleep(blow.pause)
            await self.strike(blow)
        self._lives.now.thaw()
        self._proxy.mood = "clear"

    async def strike(self, blow: Blow) -> None:
        """Break one thing, and mend what must be mended before the next."""
        self.struck[blow.kind] += 1
        life = self._lives.now
        if life.process.poll() is not None:
            self.faults.append(f"life {self._lives.count} ended by itself with {life.process.poll()}")
            await self._begin_again()
            return
        match blow.kind:
            case "mood":
                self._proxy.mood = blow.mood
                self._tell(f"mood {blow.mood}")
            case "cut":
                self._tell(f"cut {self._proxy.cut_all()} connections at once")
            case "freeze":
                self._tell(f"freeze for {blow.seconds:.1f} s")
                life.freeze()
                await asyncio.sleep(blow.seconds)
                life.thaw()
            case "kill":
                self._tell("kill -9")
                await asyncio.to_thread(life.kill)
                await self._begin_again()
            case "drain":
                self._tell("SIGTERM")
                life.terminate()
                code = await asyncio.to_thread(life.wait, self._drain_within)
                if code != 0:
                    self.faults.append(f"after SIGTERM life {self._lives.count} ended with {code}")
                    await asyncio.to_thread(life.kill)
                await self._begin_again()

    async def _begin_again(self) -> None:
        await asyncio.to_thread(self._lives.again)
        await self._reborn()
