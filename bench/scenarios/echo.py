"""How soon does a player hear himself?

Measures: 100 WebSockets, a channel each; everyone publishes 40 bytes, waits until he hears them, and
publishes the next: round trips a second, their delay, and the server's CPU for each. Takes part: whose
WebSockets can publish.
Void: an error, a message that does not come back; a generator above 85 %, unless the server has filled its
core.
"""

from collections.abc import Iterator
from functools import partial

from harness import load
from harness.compare import Comparison
from harness.figures import LOADS
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Options, Plot, Scenario
from harness.servers import WEBSOCKET, Server, running
from harness.standing import STARLETTE

NAME = "echo"
CASE = "100 players, each hears himself, 40 B"
_PLAYERS = 100


def trips(server: Server, seconds: float) -> Found:
    """Return what round trips over the server's WebSockets cost."""
    if server.echo is None:
        raise ValueError(f"{server.name} has no WebSocket that publishes")
    with running(server) as here:
        meter = Meter(here.pid)
        echoed = load.echo(here, server.echo, seconds=seconds, connections=_PLAYERS)
        used = meter.read()
    faults = Faults.none()
    if echoed.errors:
        faults.server.append(f"{echoed.errors} errors: {echoed.error}")
    if echoed.connected != _PLAYERS:
        faults.server.append(f"{echoed.connected} of {_PLAYERS} connected")
    # The meter runs from before the handshakes; loads are of the time in which messages went.
    server_load = used.cpu / echoed.wall
    if echoed.cpu / echoed.wall > 0.85 and server_load < 0.9:
        faults.load.append(f"generator at {echoed.cpu / echoed.wall:.0%} of its core")
    figures = {
        "trips_per_second": echoed.trips / echoed.wall,
        "trip_p50": echoed.trip_p50,
        "trip_p99": echoed.trip_p99,
        "cpu_per_trip": used.cpu / max(echoed.trips, 1),
        "generator_load": echoed.cpu / echoed.wall,
        **used.figures(),
        "server_load": server_load,
    }
    return Found(figures, faults.all, faults.disturbed)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    if options.full:
        yield Comparison(
            NAME,
            CASE,
            WEBSOCKET,
            [server for server in options.having(WEBSOCKET) if server.echo],
            partial(trips, seconds=2.5),
            seconds=3.6,
            rounds=options.asked(1, 5),
        )


SCENARIO = Scenario(
    NAME,
    "How soon does a player hear himself?",
    comparisons,
    ("trips_per_second", "trip_p50", "trip_p99", "cpu_per_trip", *LOADS),
    plots=(
        Plot(
            "round-trips",
            CASE,
            "trips_per_second",
            "Tidings turns {ours} small messages around, {ratio} times Starlette's",
            STARLETTE,
        ),
    ),
)
