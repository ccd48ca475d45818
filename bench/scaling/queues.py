"""One server with a queue, simulated and in closed form.

Owns: waiting for one busy thing, be it a core or a log. Does not own: what the times mean.
Invariant: first come, first served; chance comes in as an argument.
"""

import math
from collections.abc import Iterable, Sequence
from random import Random


def poisson(rate: float, count: int, chance: Random) -> list[float]:
    """Return the moments of `count` arrivals at `rate` a second."""
    now, moments = 0.0, []
    for _ in range(count):
        now += chance.expovariate(rate)
        moments.append(now)
    return moments


def served(arrivals: Sequence[float], services: Iterable[float]) -> list[float]:
    """Return when each is done, by one server that takes them one by one."""
    free, done = 0.0, []
    for arrival, service in zip(arrivals, services, strict=False):
        free = max(free, arrival) + service
        done.append(free)
    return done


def served_joined(arrivals: Sequence[float], each: float, turn: float, rest: float = 0.0) -> list[float]:
    """Return when each is done, by a server that takes all that wait in one turn.

    A turn costs `turn`, and `each` for each that is in it; `rest` passes between two turns.
    """
    done: list[float] = []
    count, at, free = len(arrivals), 0, 0.0
    while at < count:
        start = max(free, arrivals[at])
        last = at + 1
        while last < count and arrivals[last] <= start:
            last += 1
        end = start + turn + each * (last - at)
        done += [end] * (last - at)
        at, free = last, end + rest
    return done


def delays(arrivals: Sequence[float], done: Sequence[float], skip: float = 0.1) -> list[float]:
    """Return how long each took, without the first `skip` of them: the queue was empty when they came."""
    first = int(len(arrivals) * skip)
    return [end - begin for begin, end in zip(arrivals[first:], done[first:], strict=True)]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


# --- closed forms -------------------------------------------------------------------------------


def mean_wait(rate: float, service: float, second_moment: float | None = None) -> float:
    """Return the mean time in the queue (Pollaczek and Khinchine); all services alike: M/D/1."""
    load = rate * service
    if load >= 1:
        return math.inf
    moment = service * service if second_moment is None else second_moment
    return rate * moment / (2 * (1 - load))


def wait_at_most(rate: float, service: float, time: float) -> float:
    """Return which share waits no longer than `time` in an M/D/1 queue (Crommelin).

    The terms of the sum alternate and grow; good for a few tens of services.
    """
    total = 0.0
    for k in range(int(time / service) + 1):
        x = rate * (k * service - time)
        total += x**k / math.factorial(k) * math.exp(-x)
    return (1 - rate * service) * total


def turn_length(rate: float, each: float, turn: float) -> float:
    """Return the mean length of a turn of `served_joined` that holds what came during the one before."""
    load = rate * each
    return math.inf if load >= 1 else turn / (1 - load)
