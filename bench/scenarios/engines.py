"""How many publishes a second does each log take, and how late are they delivered?

Measures: publishes as fast as they are acknowledged, 64 unanswered, and their CPU here and in the engine;
then, at 200 a second, the delay until ten WebSockets have a message. Takes part, for each log in turn:
Tidings with it; Tidings' log without a server; and a bare client that does the same with the same bytes
(engine_clients.py): it appends, waits for the acknowledgement, and reads back what it appended. In memory
there is nothing to be a client of: there it is the C loop.
Void: a publish refused or unanswered, a message that does not come back, a publisher above 85 % of its core
unless the server has filled its own.

The engine runs on the second core, with the publisher: what it takes there stands in the tables.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from harness import engines, load, processes
from harness.compare import Comparison
from harness.delivery import LAST_DELIVERY
from harness.engines import Engine
from harness.figures import LOADS
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Options, Scenario
from harness.servers import WEBSOCKET, Server, running
from harness.standing import C_LOOP, TIDINGS

NAME = "engines"
LOG_ALONE = "its log, no server"
_RATE = 200.0
_LISTENERS = 10
# Each on a connection of its own: of those that are pipelined on one, a log sees one at a time.
_UNANSWERED = 64
_SIZE = 100


class _Kind(NamedTuple):
    """One log: its case, how it is started, and its bare client."""

    case: str
    beside: Callable[[], AbstractContextManager[Engine]]
    client: str = ""
    client_name: str = ""


_KINDS = (
    _Kind("memory", engines.in_memory),
    _Kind("SQLite, synced", partial(engines.sqlite, "synced"), "sqlite", "bare sqlite3 loop"),
    _Kind("SQLite, stored", partial(engines.sqlite, "stored"), "sqlite", "bare sqlite3 loop"),
    _Kind("Redis, synced every second", partial(engines.redis, "everysec"), "redis", "bare XADD and XREAD"),
    _Kind("Redis, appendfsync always", partial(engines.redis, "always"), "redis", "bare XADD and XREAD"),
    _Kind("NATS JetStream, in files", engines.nats, "nats", "bare JetStream publish"),
)


def _served(server: Server, seconds: float) -> Found:
    with (
        running(server) as here,
        load.subscribers(here, WEBSOCKET, samples=_LISTENERS) as listeners,
    ):
        burst = partial(
            load.publish, here, rate=0, outstanding=1, size=_SIZE, channels=100, connections=_UNANSWERED
        )
        burst(seconds=0.3)
        meter, before = Meter(here.pid), processes.cpu_seconds(here.engine.pid)
        published = burst(seconds=seconds)
        used, engine = meter.read(), processes.cpu_seconds(here.engine.pid) - before

        listeners.connect(_LISTENERS)
        listeners.mark()
        paced = load.publish(here, rate=_RATE, seconds=seconds, size=_SIZE)
        expected = paced.published * _LISTENERS
        report = listeners.wait_for(expected, LAST_DELIVERY)
    faults = Faults.none()
    faults.counts(report, expected)
    faults.publishing(published, 0)
    faults.publishing(paced, _RATE)
    # The loop in C keeps up with whatever the publisher has: it is a floor all the same.
    faults.loads(used, published.cpu if server.name == TIDINGS else 0.0, may_fill=True)
    figures = {
        "publishes_per_second": published.answered / published.wall,
        "cpu_per_publish": used.cpu / max(published.answered, 1),
        "delay_p50": report.delay_p50,
        "delay_p99": report.delay_p99,
        "generator_load": published.cpu / used.wall,
        **used.figures(),
    }
    if here.engine.pid:
        figures["engine_cpu_per_publish"] = engine / max(published.answered, 1)
    return Found(figures, faults.all, faults.disturbed)


def _without(server: Server, kind: str, seconds: float) -> Found:
    with server.beside() as engine:
        words = [f"--burst={seconds}", f"--paced={seconds}", f"--rate={_RATE}", f"--size={_SIZE}"]
        words += [f"--outstanding={_UNANSWERED}", f"--group={_UNANSWERED}"]
        told = engines.without_server(kind, engine, *words)
    burst, paced = told["burst"], told["paced"]
    figures = {
        "publishes_per_second": burst["messages"] / burst["wall"],
        "cpu_per_publish": burst["cpu"] / burst["messages"],
        "delay_p50": paced["delay_p50"],
        "delay_p99": paced["delay_p99"],
        # There is no generator: the load is part of the program.
        "server_load": burst["cpu"] / burst["wall"],
        "generator_load": 0.0,
        "stolen_load": 0.0,
    }
    if engine.pid:
        figures["engine_cpu_per_publish"] = burst["engine_cpu"] / burst["messages"]
    if "group" in burst:
        figures["group"] = burst["group"]
    return Found(figures)


def _measure(server: Server, client: str, seconds: float) -> Found:
    if server.name in (TIDINGS, C_LOOP):
        return _served(server, seconds)
    return _without(server, "log" if server.name == LOG_ALONE else client, seconds)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    found = {server.name: server for server in options.having(WEBSOCKET, TIDINGS, C_LOOP)}
    if not options.full or TIDINGS not in found:
        return
    for kind in _KINDS:
        ours = replace(found[TIDINGS], beside=kind.beside)
        floor = replace(ours, name=kind.client_name) if kind.client else found.get(C_LOOP)
        yield Comparison(
            NAME,
            kind.case,
            "HTTP",
            [ours, replace(ours, name=LOG_ALONE), *([floor] if floor else [])],
            partial(_measure, client=kind.client, seconds=1.5),
            seconds=4.6,
            rounds=options.asked(1, 3),
        )


SCENARIO = Scenario(
    NAME,
    "How many publishes a second does each log take, and how late are they delivered?",
    comparisons,
    (
        "publishes_per_second",
        "cpu_per_publish",
        "engine_cpu_per_publish",
        "group",
        "delay_p50",
        "delay_p99",
        *LOADS,
    ),
)
