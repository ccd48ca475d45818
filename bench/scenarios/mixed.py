"""Does one server serve all four transports at once as well as each alone?

Measures: 1,000 subscribers of one channel, a quarter by each transport (polls every second), 20 messages a
second: CPU per delivery over all, and p99 of each transport. Takes part: Tidings (a poll of Nchan gets
one message, and would never be done).
Void: a delivery missing or too many on any transport, an error, a late publisher, a generator above 85 %.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from harness import load
from harness.compare import Comparison
from harness.delivery import LAST_DELIVERY
from harness.figures import LOADS
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Options, Scenario
from harness.servers import LONG_POLLING, POLLING, SSE, WEBSOCKET, Server, running
from harness.standing import TIDINGS

NAME = "mixed"
CASE = "250 subscribers by each of four transports, 100 B, 20 a second"
_TRANSPORTS = (POLLING, LONG_POLLING, SSE, WEBSOCKET)
_EACH = 250
_RATE = 20.0
_POLL_EVERY = 1.0


def _measure(server: Server, seconds: float) -> Found:
    with ExitStack() as stack:
        here = stack.enter_context(running(server))
        groups = {
            transport: stack.enter_context(
                load.subscribers(here, transport, rearm=_POLL_EVERY if transport == POLLING else 0.0)
            )
            for transport in _TRANSPORTS
        }
        load.publish(here, rate=100, seconds=0.1)
        for group in groups.values():
            group.connect(_EACH)
        time.sleep(_POLL_EVERY + 0.3)  # by then the polls are spread over their interval
        for group in groups.values():
            group.mark()
        meter = Meter(here.pid)
        published = load.publish(here, rate=_RATE, seconds=seconds)
        expected = published.published * _EACH
        for group in groups.values():
            group.wait_for(expected, LAST_DELIVERY)
        used = meter.read()
        time.sleep(0.1)
        reports = {transport: group.report() for transport, group in groups.items()}
    faults = Faults.none()
    for report in reports.values():
        faults.counts(report, expected)
    faults.publishing(published, _RATE)
    faults.loads(used, sum(report.cpu for report in reports.values()) + published.cpu)
    deliveries = sum(report.messages for report in reports.values())
    figures = {"cpu_per_delivery": used.cpu / max(deliveries, 1), **used.figures()}
    for transport, report in reports.items():
        figures[f"p99_{transport}"] = report.delay_p99
    return Found(figures, faults.all, faults.disturbed)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    if options.full:
        standing = options.having(POLLING, TIDINGS)
        yield Comparison(
            NAME, CASE, "all four", standing, partial(_measure, seconds=4.0), 9.0, options.asked(1, 5)
        )


SCENARIO = Scenario(
    NAME,
    "Does one server serve all four transports at once as well as each alone?",
    comparisons,
    ("cpu_per_delivery", *(f"p99_{transport}" for transport in _TRANSPORTS), *LOADS),
)
