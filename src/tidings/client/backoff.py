"""When to come back: random waits, the server's hints before them.

Owns: how long to wait after a failure. Does not own: sleeping, or what failed. Chance comes in as an
argument.
Invariant: full jitter: the wait is anywhere between 0 and the bound, so clients that were cut together do not
come back together (spec §5.5).
"""

import random
from collections.abc import Callable
from typing import Final

BASE: Final = 0.3
# After a connection that worked: all that a server's end has cut are to be spread.
BASE_CUT: Final = 1.0
CAP: Final = 20.0
# Hints are kept between what would hammer the server and what would seem dead.
HINT_LEAST: Final = 0.05
HINT_MOST: Final = 300.0


class Backoff:
    """The waits of one subscription, or of one publish."""

    def __init__(
        self,
        base: float | None = None,
        cap: float | None = None,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Begin with a bound of `base` seconds (None: BASE) that doubles up to `cap` (None: CAP)."""
        self._base = BASE if base is None else base
        self._base_told = False
        self._cap = CAP if cap is None else cap
        self._chance = chance
        self._failures = 0
        self._within = 0.0

    def advise(self, *, retry_ms: float | None = None, reconnect_within_ms: float | None = None) -> None:
        """Take the server's hints: a bound to begin with, and one for coming back from this connection."""
        if retry_ms is not None:
            self._base, self._base_told = hint(retry_ms), True
        if reconnect_within_ms is not None:
            self._within = hint(reconnect_within_ms)

    def connected(self) -> None:
        """A connection was made: what was said of coming back to it has been followed.

        When it is cut, many others are cut with it: the bound begins with BASE_CUT then, unless the server
        named one.
        """
        self._within = 0.0
        if not self._base_told:
            self._base = max(self._base, BASE_CUT)

    def reset(self) -> None:
        """All is well: the failures before are not counted any more."""
        self._failures = 0

    def next(self, least: float | None = None) -> float:
        """Return the seconds to wait after one more failure; `least` (Retry-After) are waited for first."""
        bound = min(self._base * 2**self._failures, self._cap)
        self._failures = min(self._failures + 1, 16)
        # A server that drains has told all its clients the same: who finds nobody yet stays spread as far.
        bound = max(bound, self._within)
        return (least or 0.0) + self._chance(0.0, bound)


def hint(ms: float) -> float:
    """Return a hint of the server in seconds, kept between its bounds."""
    return min(max(ms / 1000, HINT_LEAST), HINT_MOST)
