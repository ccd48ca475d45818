"""How long until everybody has caught up, when all come back at once?

Measures: clients hear a message, are cut, miss 100, and reconnect, each from its own place, with at most
256 handshakes on the way: the time from the first until the last has all 100; bytes and the server's CPU
for it. Takes part: who resumes over a stream or WebSocket: Tidings, Nchan, Socket.IO with its recovery.
Void: a client that did not get all 100, or got more.
"""

import time
from collections.abc import Iterator
from functools import partial

from harness import load
from harness.compare import Comparison
from harness.figures import LOADS
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Aim, Options, Plot, Scenario
from harness.servers import SSE, WEBSOCKET, Server, running
from harness.standing import NCHAN, NCHAN_IDS, SOCKET_IO_RECOVERY, TIDINGS

NAME = "storm"
_MISSED = 100
_IN_FLIGHT = 256
_CAUGHT_UP_WITHIN = 45.0
_WHO = {WEBSOCKET: (TIDINGS, NCHAN_IDS, SOCKET_IO_RECOVERY), SSE: (TIDINGS, NCHAN)}


def _measure(server: Server, transport: str, clients: int) -> Found:
    with running(server) as here, load.subscribers(here, transport) as subscribers:
        subscribers.connect(clients)
        time.sleep(0.3)
        subscribers.mark()
        known = load.publish(here, rate=10, seconds=0.3)
        heard = subscribers.wait_for(known.published * clients, 10)
        cut = subscribers.cut()
        time.sleep(0.5)  # the server has seen them go
        missed = load.publish(here, rate=400, seconds=_MISSED / 400)
        subscribers.mark()
        meter = Meter(here.pid)
        reconnected = subscribers.reconnect(_MISSED, _IN_FLIGHT)
        report = subscribers.wait_for(_MISSED * clients, _CAUGHT_UP_WITHIN)
        used = meter.read()
        time.sleep(0.2)
        report = subscribers.report()  # what comes now came twice
    faults = Faults.none()
    if heard.messages != known.published * clients or cut != clients:
        faults.server.append(f"{heard.messages:,} deliveries before the cut, {cut:,} of {clients:,} to cut")
    if report.caught_up != clients or report.caught_over:
        faults.server.append(
            f"{report.caught_up:,} of {clients:,} caught up, {report.caught_over:,} got more"
        )
    faults.counts(report, _MISSED * clients)
    faults.publishing(missed, 0)
    faults.loads(used, 0.0)
    figures = {
        "caught_last": report.caught_last,
        "caught_p50": report.caught_p50,
        "caught_p99": report.caught_p99,
        "reconnected": reconnected,
        "cpu": used.cpu,
        "bytes_per_client": (report.bytes + report.sent_bytes) / clients,
        "generator_load": report.cpu / used.wall,
        **used.figures(),
    }
    return Found(figures, faults.all, faults.disturbed)


def comparisons(options: Options) -> Iterator[Comparison]:
    """10,000 clients with --full, else 2,000."""
    clients = 10_000 if options.full else 2_000
    for transport, names in _WHO.items():
        yield Comparison(
            NAME,
            f"{clients:,} clients, {_MISSED} messages of 100 B missed",
            transport,
            options.having(transport, *names),
            partial(_measure, transport=transport, clients=clients),
            seconds=12.0 if options.full else 5.0,
            rounds=options.asked(2, 5),
        )


SCENARIO = Scenario(
    NAME,
    "How long until everybody has caught up, when all come back at once?",
    comparisons,
    ("caught_last", "caught_p50", "reconnected", "cpu", "bytes_per_client", *LOADS),
    aims=(
        Aim("storm, until all have caught up", "caught_last", 1.5, 1.0, NCHAN),
        Aim("storm, until all have caught up", "caught_last", 1.5, 1.0, NCHAN_IDS),
        Aim("storm, until all have caught up", "caught_last", 0.5, 0.2, SOCKET_IO_RECOVERY),
    ),
    plots=(
        Plot("storm", "", "caught_last", "After a cut everybody has caught up with Tidings in {ours}", NCHAN),
    ),
)
