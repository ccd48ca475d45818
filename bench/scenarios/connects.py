"""How many clients a second can connect, and what does each cost?

Measures: 4,000 connections opened with at most 128 handshakes on the way, each up when its handshake is
answered.
Takes part: everyone with a WebSocket or an event stream.
Void: a connection refused. Where the generator is the slower one, only the server's CPU is told.
"""

import time
from collections.abc import Iterator
from functools import partial

from harness import load
from harness.compare import Comparison
from harness.figures import LOADS
from harness.meter import GENERATOR_LOAD_MOST, SERVER_LOAD_FULL, Faults, Meter
from harness.rows import Found
from harness.scenario import Options, Plot, Scenario
from harness.servers import SSE, WEBSOCKET, Server, running
from harness.standing import NCHAN

NAME = "connects"
_COUNT = 4_000
_BEFORE = 200
CASE = f"{_COUNT:,} connects, 128 at once"


def _measure(server: Server, transport: str) -> Found:
    with running(server) as here, load.subscribers(here, transport) as subscribers:
        subscribers.connect(_BEFORE)
        time.sleep(0.2)
        subscribers.mark()
        meter = Meter(here.pid)
        took = subscribers.connect(_COUNT)
        used = meter.read()
        report = subscribers.report()
    faults = Faults.none()
    faults.errors(report)
    generator_load = report.cpu / used.wall
    figures = {
        "cpu_per_connect": used.cpu / _COUNT,
        "generator_load": generator_load,
        **used.figures(),
    }
    # Some servers are quicker than the generator: then only what a connect costs them is known.
    if generator_load <= GENERATOR_LOAD_MOST or used.load >= SERVER_LOAD_FULL:
        figures["connects_per_second"] = _COUNT / took
    return Found(figures, faults.all, faults.disturbed)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    if not options.full:
        return
    for transport in (WEBSOCKET, SSE):
        yield Comparison(
            NAME,
            CASE,
            transport,
            options.having(transport),
            partial(_measure, transport=transport),
            seconds=2.0,
            rounds=options.asked(1, 5),
        )


SCENARIO = Scenario(
    NAME,
    "How many clients a second can connect, and what does each cost?",
    comparisons,
    ("cpu_per_connect", "connects_per_second", *LOADS),
    plots=(
        Plot(
            "connects",
            CASE,
            "cpu_per_connect",
            "A client that connects costs Tidings {ours} of CPU, {ratio} times Nchan's",
            NCHAN,
        ),
    ),
)
