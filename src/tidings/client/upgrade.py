"""When a better transport is tried beside the one that works.

Owns: the times between two tries, which grow. Does not own: trying (supervisor.py). Time and chance come in
as arguments.
"""

import random
from collections.abc import Callable
from typing import Final

FIRST: Final = 30.0
MOST: Final = 600.0


class Upgrade:
    """The plan of one subscription: all better transports are tried, the best first, then there is a
    pause."""

    def __init__(self, chance: Callable[[float, float], float] = random.uniform) -> None:
        self._chance = chance
        self._pause = FIRST
        self._tried = 0
        self.due = 0.0

    def plan(self, now: float) -> None:
        """Plan the next try; what fell together must not try together."""
        self._tried = 0
        self.due = now + self._pause * self._chance(0.75, 1.25)
        self._pause = min(self._pause * 2, MOST)

    def next(self, better: tuple[str, ...], now: float) -> str | None:
        """Return the transport to try now; None: it is not the time yet."""
        if now < self.due:
            return None
        if self._tried >= len(better):
            self.plan(now)
            return None
        self._tried += 1
        return better[self._tried - 1]
