"""Which transport is tried when: the best first, what worked before that, what fails last.

Owns: the order, and what is remembered of each origin. Does not own: trying (supervisor.py). The time comes
in as an argument.
Invariant: every transport that is allowed stays in the order; a failing one is only tried later.
"""

from typing import Final, Literal, get_args

# In the order in which the automatic choice prefers them.
Transport = Literal["websocket", "sse", "long-polling", "polling"]
TRANSPORTS: Final[tuple[str, ...]] = get_args(Transport)
# Seconds that what worked for an origin is begun with.
REMEMBERED: Final = 3600.0
ORIGINS: Final = 1_000
# Connections in a row that were cut soon after they got through; then another transport has its turn.
STRIKES: Final = 3

_worked: dict[str, tuple[str, float]] = {}


class Choice:
    """The transports of one subscription; `ways` is the order of preference."""

    def __init__(self, origin: str, ways: tuple[str, ...]) -> None:
        self.ways = ways
        self._origin = origin
        self._first: str | None = None
        self._strikes = 0

    def order(self, now: float) -> list[str]:
        """Return the transports in the order in which they are to be tried."""
        if self._first is None:
            self._first = _recall(self._origin, self.ways, now)
        return [self._first, *(way for way in self.ways if way != self._first)]

    def better(self, way: str) -> tuple[str, ...]:
        """Return what is preferred to `way`, the best first."""
        return self.ways[: self.ways.index(way)]

    def worked(self, way: str, now: float) -> None:
        """Note that `way` got through: it is begun with from now on, by others of this process, too."""
        if way != self._first:
            self._first, self._strikes = way, 0
        if len(self.ways) == 1:
            return  # it was not chosen, so it says nothing about the others
        _worked.pop(self._origin, None)
        _worked[self._origin] = (way, now + REMEMBERED)
        if len(_worked) > ORIGINS:
            del _worked[next(iter(_worked))]

    def steady(self) -> None:
        """Note that the connection lasted."""
        self._strikes = 0

    def short(self, way: str) -> bool:
        """Note that `way` was cut soon; say whether another has its turn now."""
        self._strikes += 1
        if self._strikes < STRIKES or len(self.ways) == 1:
            return False
        self._strikes = 0
        # What is less preferred asks less of the way to the server; behind the last comes the first.
        self._first = self.ways[(self.ways.index(way) + 1) % len(self.ways)]
        return True

    def advise(self, way: str | None) -> None:
        """Begin the next connection with `way`, where it is allowed; this one is good as long as it lasts."""
        if way in self.ways:
            self._first = way


def forget() -> None:
    """Forget what worked for all origins."""
    _worked.clear()


def _recall(origin: str, ways: tuple[str, ...], now: float) -> str:
    way, until = _worked.get(origin, ("", 0.0))
    return way if way in ways and now < until else ways[0]
