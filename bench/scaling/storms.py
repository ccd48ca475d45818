"""Many clients come back at once: how long until the last one is there.

Owns: arrivals with jitter, impatience, coming again. Does not own: what coming back costs (costs.py).
Invariant: a client that has given up has cost the server as much as one that stayed: the server learns of it
only when its turn comes.
"""

import heapq
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Storm:
    """`clients` of one core are cut at once, and come back after a time by chance, up to `window`.

    One costs `service`. It waits `patience`, then begins again after up to `window`, doubled each time
    up to `window_most`. `backlog` connections may wait to be accepted; the kernel tells others nothing, and
    their kernels ask again after 1 s, 2 s, 4 s.
    """

    clients: int
    window: float
    service: float
    patience: float = 10.0
    window_most: float = 20.0
    backlog: int = 4096


@dataclass(frozen=True)
class Course:
    """How a storm went: when the last was back, the longest wait of one that was served, and all attempts."""

    last: float
    longest_wait: float
    attempts: int

    def attempts_each(self, storm: Storm) -> float:
        """Return how often a client tried."""
        return self.attempts / storm.clients


def closed_form(storm: Storm) -> float:
    """Return when the last is back if nobody loses patience: the window, or the work, whichever is longer."""
    return max(storm.window, storm.clients * storm.service) + storm.service


def simulated(storm: Storm, chance: Random) -> Course:
    """Return how it goes."""
    # (when, how often it has begun, how often its kernel has asked, when it loses patience)
    coming: list[tuple[float, int, int, float]] = []
    for _ in range(storm.clients):
        when = chance.random() * storm.window
        coming.append((when, 0, 0, when + storm.patience))
    heapq.heapify(coming)
    waiting_ends: list[float] = []  # when each of those that were let in will be done; a queue, so in order
    first = 0
    free = last = longest = 0.0
    attempts = 0
    while coming:
        now, tries, asked, limit = heapq.heappop(coming)
        while first < len(waiting_ends) and waiting_ends[first] <= now:
            first += 1
        attempts += asked == 0
        if len(waiting_ends) - first >= storm.backlog:
            again = now + 2.0**asked
            if again < limit:
                heapq.heappush(coming, (again, tries, asked + 1, limit))
            else:
                _come_again(coming, storm, tries, limit, chance)
            continue
        free = max(free, now) + storm.service
        waiting_ends.append(free)
        if free > limit:
            _come_again(coming, storm, tries, limit, chance)
        else:
            last = max(last, free)
            longest = max(longest, free - (limit - storm.patience))
    return Course(last, longest, attempts)


def _come_again(
    coming: list[tuple[float, int, int, float]], storm: Storm, tries: int, now: float, chance: Random
) -> None:
    window = min(storm.window_most, max(storm.window, 0.3) * 2.0 ** (tries + 1))
    when = now + chance.random() * window
    heapq.heappush(coming, (when, tries + 1, 0, when + storm.patience))
