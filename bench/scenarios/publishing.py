"""How many publishes a second, and what does each cost, when nobody listens?

Measures: publishes on 100 channels without subscribers, as fast as they are answered: over HTTP keep-alive
(8 connections with 8 unanswered on each), in batches of 100 lines, and over 100 WebSockets that wait for
their receipts. Takes part: over HTTP those with a publishing address; in batches and by receipts Tidings
alone.
Void: a publish refused or unanswered; a publisher above 85 % of its core, unless the server has filled its
own.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from harness import load
from harness.compare import Comparison
from harness.figures import LOADS
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Options, Plot, Scenario
from harness.servers import WEBSOCKET, Echo, Server, running
from harness.standing import C_LOOP, NCHAN, SOCKET_IO, STARLETTE, TIDINGS, WS

from scenarios.echo import trips

NAME = "publishing"
SINGLE = "one message a request"
BATCHES = "batches of 100"
RECEIPTS = "100 connections, each awaits its receipt"
_RECEIPTS = Echo("/channels", '{"publish":{"channel":"bench{n}","data":{data}}}', expect='{"ok":')
_WHO = (TIDINGS, C_LOOP, NCHAN, WS, SOCKET_IO, STARLETTE)


def _http(server: Server, batch: int, seconds: float) -> Found:
    with running(server) as here:
        burst = partial(load.publish, here, rate=0, channels=100, connections=8, outstanding=8, batch=batch)
        burst(seconds=0.3)
        meter = Meter(here.pid)
        published = burst(seconds=seconds)
        used = meter.read()
    faults = Faults.none()
    faults.publishing(published, 0)
    faults.loads(used, published.cpu, may_fill=True)
    figures = {
        "publishes_per_second": published.answered / published.wall,
        "cpu_per_publish": used.cpu / max(published.answered, 1),
        "answer_p50": published.answer_p50,
        "answer_p99": published.answer_p99,
        "generator_load": published.cpu / used.wall,
        **used.figures(),
    }
    return Found(figures, faults.all, faults.disturbed)


def _receipts(server: Server, seconds: float) -> Found:
    found = trips(replace(server, echo=_RECEIPTS), seconds)
    names = {
        "trips_per_second": "publishes_per_second",
        "cpu_per_trip": "cpu_per_publish",
        "trip_p50": "answer_p50",
        "trip_p99": "answer_p99",
    }
    figures = {names.get(name, name): value for name, value in found.figures.items()}
    return replace(found, figures=figures)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    if not options.full:
        return
    standing = [server for server in options.having(WEBSOCKET, *_WHO) if "{n}" in server.publish]
    ours = [server for server in standing if server.name == TIDINGS]
    for case, transport, who, how in (
        (SINGLE, "HTTP", standing, partial(_http, batch=0, seconds=2.0)),
        (BATCHES, "HTTP", ours, partial(_http, batch=100, seconds=2.0)),
        (RECEIPTS, WEBSOCKET, ours, partial(_receipts, seconds=2.0)),
    ):
        yield Comparison(NAME, case, transport, who, how, 3.0, options.asked(1, 5))


SCENARIO = Scenario(
    NAME,
    "How many publishes a second, and what does each cost, when nobody listens?",
    comparisons,
    ("publishes_per_second", "cpu_per_publish", "answer_p50", "answer_p99", *LOADS),
    plots=(
        Plot(
            "publishes",
            SINGLE,
            "publishes_per_second",
            "Tidings takes {ours} publishes, one a request, {ratio} times Nchan's",
            NCHAN,
        ),
    ),
)
