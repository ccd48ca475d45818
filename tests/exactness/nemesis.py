"""The nemesis: chooses beforehand, from the seed, what breaks when, and breaks it.

Owns: the schedule. Does not own: how a connection breaks (chaos_proxy.py), what else can break (worlds.py).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exactness.chaos_proxy import MOODS, ChaosProxy
from exactness.worlds import World

_LONG = ("freeze", "worker-freeze", "engine-freeze", "engine-kill")


@dataclass(frozen=True)
class Blow:
    """One thing that breaks, `pause` seconds after the one before. `which` of several, from 0 to 1."""

    pause: float
    kind: str
    mood: str = ""
    seconds: float = 0.0
    which: float = 0.0


def schedule(seed: int | str, seconds: float, weights: Mapping[str, int]) -> list[Blow]:
    """Return what breaks in a run of so many seconds; each kind comes at least once."""
    chance = random.Random(f"{seed}/nemesis")
    blows: list[Blow] = []
    left = seconds
    required = list(weights)
    chance.shuffle(required)
    while True:
        pause = 0.5 + 2.5 * chance.random()
        kind = chance.choices(list(weights), list(weights.values()))[0]
        if required and (chance.random() < 0.5 or left < 3.5 * len(required)):
            kind = required.pop()
        length = 0.3 + 1.7 * chance.random() if kind in _LONG else chance.random()
        mood = chance.choice([*MOODS, "mixed", "mixed"]) if kind == "mood" else ""
        left -= pause + (length if kind in _LONG else 0.0) + (0.0 if kind in ("mood", "cut") else 1.0)
        blows.append(Blow(pause, kind, mood, length, chance.random()))
        if left < 0 and not required:
            return blows


class Nemesis:
    """Carries out a schedule."""

    def __init__(self, world: World, proxy: ChaosProxy, tell: Callable[[str], None]) -> None:
        self.struck: Counter[str] = Counter()
        self._world = world
        self._proxy = proxy
        self._tell = tell

    async def run(self, blows: list[Blow]) -> None:
        """Strike all of `blows`, then leave everything whole."""
        for blow in blows:
            await asyncio.sleep(blow.pause)
            await self.strike(blow)
        self._world.thaw()
        self._proxy.mood = "clear"

    async def strike(self, blow: Blow) -> None:
        """Break one thing, and mend what must be mended before the next."""
        self.struck[blow.kind] += 1
        match blow.kind:
            case "mood":
                self._proxy.mood = blow.mood
                self._tell(f"mood {blow.mood}")
            case "cut":
                self._tell(f"cut {self._proxy.cut_all()} connections at once")
            case _:
                await self._world.strike(blow.kind, blow.seconds, blow.which, self._tell)
