"""What the lab is asked to do: the load, and when its messages are due.

Owns: the options' meanings and bounds, and the moments. Does not own: the publishing (publisher.py).
Invariant: the same load and seed give the same moments, for all four transports.
"""

import itertools
import math
import random
from dataclasses import dataclass
from typing import Final

MESSAGES_PER_ANSWER: Final = 300  # the server's own bound where a client names none


class LoadError(Exception):
    """A load that the lab cannot measure; the text says why, and what can be done."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Messages of `size` bytes at `rate` a second, for `seconds`, to `clients` of each transport.

    `interval` is polling's, `wait` how long a long-poll may hang, `rtt` the round trip that is simulated.
    Durations are seconds.
    """

    rate: float = 4.0
    interval: float = 0.25
    wait: float = 25.0
    clients: int = 50
    rtt: float = 0.1
    seconds: float = 20.0
    size: int = 100
    seed: int = 1

    def check(self) -> None:
        """Raise LoadError where the load cannot be measured so."""
        if self.interval < self.rtt:
            raise LoadError(
                f"--interval {self.interval:g} is below --rtt {self.rtt:g}: a poll would be asked before the "
                "one before it is answered. Ask less often, or make the way shorter."
            )
        if self.rate * self.interval > MESSAGES_PER_ANSWER:
            raise LoadError(
                f"{self.rate:g} messages a second and a poll every {self.interval:g} s are more than the "
                f"{MESSAGES_PER_ANSWER} messages that one answer holds: the poller would never keep up. Ask "
                "more often, or publish less."
            )
        if self.rate * self.seconds < 5:
            raise LoadError(
                f"{self.rate:g} messages a second for {self.seconds:g} s are fewer than five messages, which "
                "say nothing. Take --seconds or --rate higher."
            )

    @property
    def lead(self) -> float:
        """Seconds of publishing before the counting begins, so that it begins in the midst of things."""
        return self.interval + 3 * self.rtt + 0.2

    @property
    def messages(self) -> int:
        """How many messages are published while it is counted."""
        return max(1, round(self.rate * self.seconds))

    def moments(self) -> list[float]:
        """Return when messages are due, in seconds from the first poll on; it is counted from `lead` on.

        A Poisson process whose waits are not thrown but dealt: the means of the exponential distribution's
        equal parts, shuffled. Each run then has as many short and long waits as the distribution, and
        twenty seconds show what thrown ones show in many minutes. The counted part begins and ends with a
        message, so that its waits are its own.
        """
        chance = random.Random(self.seed)  # noqa: S311 - chance, not a secret
        before = _deal(max(1, round(self.rate * self.lead)), self.lead, chance)
        counted = _deal(self.messages, self.seconds, chance)
        return [*before, *(self.lead + at for at in counted)]


def _deal(count: int, span: float, chance: random.Random) -> list[float]:
    """Return `count` moments, the last of them at `span`."""
    waits = [_mean_wait(part, count) * span / count for part in range(count)]
    chance.shuffle(waits)
    return list(itertools.accumulate(waits))


def _mean_wait(part: int, parts: int) -> float:
    """Return the mean of the exponential distribution (mean 1) over its `part`-th of `parts` equal parts."""

    def primitive(left: float) -> float:
        return left - left * math.log(left) if left > 0 else 0.0

    return parts * (primitive(1 - part / parts) - primitive(1 - (part + 1) / parts))
