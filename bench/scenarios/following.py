"""What does a node pay for a message that none of its clients hears?

Measures: CPU of a node without clients for each message that others append to the log that it follows: from
Redis, from NATS, and from the parent of workers, there at the worker that published nothing. Others append
1,000 a second, one by one; and ten at a time, 10,000 a second, or as fast as the parent takes them.
Takes part: Tidings alone. Void: a publish refused.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from harness import engines, load, processes
from harness.compare import Comparison
from harness.engines import Engine
from harness.meter import Faults
from harness.rows import Found
from harness.scenario import Options, Scenario
from harness.servers import TIDINGS, TIDINGS_WORKERS, Running, Server, running

NAME = "following"
_SECONDS = 2.0
_SETTLE = 0.3
_ALONE = 1_000.0
_TOGETHER = 10  # the program that appends wakes every millisecond
_PARENT = "Tidings, following its parent"


def _workers(here: Running) -> list[int]:
    parent = here.pid
    return [pid for pid in processes.tree(parent) if pid != parent]


def _by_parent(here: Running, rate: float) -> Found:
    # One connection, so one worker publishes, and the other has nothing to do but follow.
    before = {pid: processes.cpu_seconds(pid) for pid in _workers(here)}
    parent = processes.cpu_seconds(here.pid)
    if rate > _ALONE:
        published = load.publish(here, rate=0, seconds=_SECONDS, channels=100, outstanding=2, batch=_TOGETHER)
    else:
        published = load.publish(here, rate=rate, seconds=_SECONDS, channels=100)
    time.sleep(_SETTLE)
    used = [processes.cpu_seconds(pid) - was for pid, was in before.items()]
    parent = processes.cpu_seconds(here.pid) - parent - sum(used)
    count = max(published.answered, 1)
    faults = Faults.none()
    faults.publishing(published, 0)
    if len(used) != 2:
        faults.server.append(f"{len(used)} workers, expected 2")
    figures = {
        "cpu_per_followed": min(used) / count,
        "parent_cpu_per_followed": parent / count,
        "rate": published.answered / _SECONDS,
    }
    return Found(figures, faults.all)


def _measure(server: Server, rate: float) -> Found:
    with running(server) as here:
        time.sleep(_SETTLE)
        if server.name == _PARENT:
            return _by_parent(here, rate)
        before = processes.cpu_seconds(here.pid)
        words = ("--paced", f"{_SECONDS}", "--rate", f"{rate}", "--deaf")
        told = engines.without_server("log", here.engine, *words, on=processes.CORES[1:])
        time.sleep(_SETTLE)
        used = processes.cpu_seconds(here.pid) - before
    return Found(
        {"cpu_per_followed": used / told["paced"]["messages"], "rate": told["paced"]["messages"] / _SECONDS}
    )


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    if not options.full:
        return

    def beside(name: str, engine: Callable[[], AbstractContextManager[Engine]]) -> Server:
        return replace(TIDINGS, name=f"Tidings, following {name}", beside=engine)

    servers = [
        beside("Redis", partial(engines.redis, "everysec")),
        beside("NATS", engines.nats),
        replace(TIDINGS_WORKERS, name=_PARENT),
    ]
    for case, rate in (("one by one", _ALONE), ("ten at a time", _ALONE * _TOGETHER)):
        yield Comparison(NAME, case, "HTTP", servers, partial(_measure, rate=rate), 5.0, options.asked(1, 5))


SCENARIO = Scenario(
    NAME,
    "What does a node pay for a message that none of its clients hears?",
    comparisons,
    ("cpu_per_followed", "parent_cpu_per_followed", "rate"),
)
