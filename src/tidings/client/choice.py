"""Which transport is tried when: the best first, what worked before that, what fails last.

Owns: the order, and what is remembered of each origin. Does not own: trying (supervisor.py). The time comes
in as an argument.
Invariant: every transport that is allowed stays in the order; a failing one is only tried later.
"""

from typing import Final, Literal, get_args

from tidings.client.ask import HOLD_LEAST

# In the order in which the automatic choice prefers them.
Transport = Literal["websocket", "sse", "long-polling", "polling"]
TRANSPORTS: Final[tuple[str, ...]] = get_args(Transport)
# Seconds that what worked for an origin is begun with.
REMEMBERED: Final = 3600.0
ORIGINS: Final = 1_000
# Two lives in a row that differ by no more were ended by the same clock on the way.
SAME_AGE: Final = 1.0
# Who lives longer than that can go on so; a long-poll that is cut may hang for less, down to HOLD_LEAST.
AGE_MOST: Final = 60.0

_worked: dict[str, tuple[str, float]] = {}


class Choice:
    """The transports of one subscription; `transports` is the order of preference."""

    def __init__(self, origin: str, transports: tuple[str, ...]) -> None:
        self.transports = transports
        self._origin = origin
        self._first: str | None = None
        # Seconds that the last connection lived.
        self._age: float | None = None

    def order(self, now: float) -> list[str]:
        """Return the transports in the order in which they are to be tried."""
        if self._first is None:
            self._first = _recall(self._origin, self.transports, now)
        return [self._first, *(transport for transport in self.transports if transport != self._first)]

    def better(self, transport: str) -> tuple[str, ...]:
        """Return what is preferred to `transport`, the best first."""
        return self.transports[: self.transports.index(transport)]

    def worked(self, transport: str, now: float) -> None:
        """Note that `transport` got through: it is begun with from now on, by others of this process, too."""
        self._first = transport
        if len(self.transports) == 1:
            return  # it was not chosen, so it says nothing about the others
        _worked.pop(self._origin, None)
        _worked[self._origin] = (transport, now + REMEMBERED)
        if len(_worked) > ORIGINS:
            del _worked[next(iter(_worked))]

    def lived(self, transport: str, age: float) -> bool:
        """Note for how long a connection lived that was cut; say whether another transport has its turn now.

        So it is where the one before lived as long: a clock on the way cuts what hangs, and it will do so
        again.
        """
        before, self._age = self._age, age
        most = HOLD_LEAST if transport == "long-polling" else AGE_MOST
        if before is None or abs(age - before) >= SAME_AGE or age >= most or len(self.transports) == 1:
            return False
        # What is less preferred asks less of the way to the server; behind the last comes the first.
        self._first = self.transports[(self.transports.index(transport) + 1) % len(self.transports)]
        return True

    def advise(self, transport: str | None) -> None:
        """Begin the next connection with `transport`, if it is allowed; this one stays while it lasts."""
        if transport in self.transports:
            self._first = transport


def forget() -> None:
    """Forget what worked for all origins."""
    _worked.clear()


def _recall(origin: str, transports: tuple[str, ...], now: float) -> str:
    transport, until = _worked.get(origin, ("", 0.0))
    return transport if transport in transports and now < until else transports[0]
