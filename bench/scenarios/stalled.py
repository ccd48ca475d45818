"""Do the others notice that a reader has stopped?

Measures: p99 of 990 readers, with 10 more (1 %) that take no bytes behind full kernel buffers, and then
without them, on the same server. Takes part: Tidings, the C loop, Nchan, Socket.IO, Starlette.
Void: a delivery missing or too many, an error, fewer than 10 connections seen stalled, a late publisher. A
server that stops for all, or cuts the stalled ones before the end, is "n/a" and says so.
"""

import signal
import time
from collections.abc import Iterator
from functools import partial

from harness import load, processes
from harness.compare import Comparison
from harness.delivery import LAST_DELIVERY
from harness.load import Report, Subscribers
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Aim, Options, Scenario
from harness.servers import SSE, WEBSOCKET, Running, Server, running
from harness.standing import C_LOOP, NCHAN, SOCKET_IO, STARLETTE, TIDINGS

NAME = "stalled"
CASE = "990 readers beside 10 stalled ones, 100 B, 50 a second"
_LIVE = 990
_STALLED = 10
_RATE = 50.0
_WHO = (TIDINGS, C_LOOP, NCHAN, SOCKET_IO, STARLETTE)


def _window(here: Running, live: Subscribers, seconds: float, faults: Faults) -> Report:
    """Return what the live ones got, and add to `faults` what was wrong with it."""
    live.mark()
    meter = Meter(here.pid)
    published = load.publish(here, rate=_RATE, seconds=seconds)
    live.wait_for(published.published * _LIVE, LAST_DELIVERY)
    used = meter.read()
    time.sleep(0.1)
    report = live.report()
    faults.counts(report, published.published * _LIVE)
    faults.publishing(published, _RATE)
    faults.loads(used, report.cpu + published.cpu)
    return report


def _measure(server: Server, transport: str, seconds: float) -> Found:
    faults = Faults.none()
    with running(server) as here, load.subscribers(here, transport, samples=256) as live:
        with load.subscribers(here, transport) as stopped:
            stopped.connect(_STALLED)
            time.sleep(0.2)
            stopped.signal(signal.SIGSTOP)
            # Nobody else is there yet: 9 MB for each fill the kernel's buffers on both sides.
            filled = load.publish(here, rate=150, seconds=1.0, size=60_000)
            if filled.errors:
                return Found({}, unable=f"publishing stops behind stalled readers: {filled.error}")
            live.connect(_LIVE)
            time.sleep(0.5)
            beside = _window(here, live, seconds, faults)
            stalled = processes.sockets_with_unsent(here.port)
            if beside.messages < _RATE * seconds * _LIVE:
                return Found({}, unable=f"the others got {beside.messages:,} messages while 1 % stalled")
            if stalled < _STALLED:
                return Found({}, unable=f"cuts readers that stall: {stalled} of {_STALLED} were left")
        time.sleep(0.5)  # the stalled ones are gone
        alone = _window(here, live, seconds, faults)
    figures = {
        "p99_without": alone.delay_p99,
        "p99_with": beside.delay_p99,
        "p99_ratio": beside.delay_p99 / alone.delay_p99,
        "stalled": float(stalled),
    }
    return Found(figures, faults.all, faults.disturbed)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    if not options.full:
        return
    for transport, names in ((WEBSOCKET, _WHO), (SSE, (TIDINGS,))):
        yield Comparison(
            NAME,
            CASE,
            transport,
            options.having(transport, *names),
            partial(_measure, transport=transport, seconds=2.5),
            seconds=8.5,
            rounds=options.asked(1, 5),
        )


SCENARIO = Scenario(
    NAME,
    "Do the others notice that a reader has stopped?",
    comparisons,
    ("p99_without", "p99_with", "p99_ratio", "stalled"),
    compared=("p99_with",),
    aims=(Aim("p99 of the others, with 1 % stalled over without", "p99_ratio", 1.2, 1.05),),
)
