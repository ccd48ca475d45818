"""How late are messages, at a rate that everyone is asked alike?

Measures: p50, p99 and p99.9 of the delay from the intended moment of publishing, at half of the rate that
Tidings itself reaches with nothing joined (one publish at a time). Takes part: Tidings, the C loop, Nchan,
ws, Socket.IO.
Void: as in a fan-out. A server that does not sustain the rate is "n/a": a delay that grows says nothing.
"""

from collections.abc import Iterator
from functools import cache, partial

from harness.compare import Comparison
from harness.delivery import Load, measure
from harness.figures import LOADS
from harness.rows import Found
from harness.scenario import Aim, Options, Plot, Scenario
from harness.servers import SSE, TIDINGS, WEBSOCKET, Server
from harness.standing import C_LOOP, NCHAN, SOCKET_IO, WS
from harness.standing import TIDINGS as OURS

NAME = "delay"
CASE = "1,000 subscribers, 100 B, at half of our own unbatched maximum"
_SUBSCRIBERS = 1_000
_WHO = (OURS, C_LOOP, NCHAN, WS, SOCKET_IO)


@cache
def _half_of_our_maximum(transport: str) -> float:
    """Return messages a second: half of what Tidings delivers when each publish waits for the one before."""
    alone = Load(transport, _SUBSCRIBERS, rate=0, seconds=2.0, connections=1, outstanding=1)
    # The better of two: what disturbs one would lower the rate for all.
    most = max(measure(TIDINGS, alone).figures["deliveries_per_second"] for _ in range(2))
    return round(most / _SUBSCRIBERS / 2)


def _measure(server: Server, transport: str, seconds: float) -> Found:
    rate = _half_of_our_maximum(transport)
    found = measure(server, Load(transport, _SUBSCRIBERS, rate=rate, seconds=seconds, samples=256))
    return Found({**found.figures, "rate": rate}, found.void, found.disturbed, found.unable)


def comparisons(options: Options) -> Iterator[Comparison]:
    """WebSocket and SSE; enough samples for p99.9 in each row."""
    for transport in (WEBSOCKET, SSE):
        yield Comparison(
            NAME,
            CASE,
            transport,
            options.having(transport, *_WHO),
            partial(_measure, transport=transport, seconds=5.0 if options.full else 3.0),
            seconds=7.0 if options.full else 5.0,
            rounds=options.asked(2, 5),
        )


SCENARIO = Scenario(
    NAME,
    "How late are messages, at a rate that everyone is asked alike?",
    comparisons,
    ("rate", "delay_p50", "delay_p99", "delay_p999", *LOADS),
    compared=("delay_p99",),
    aims=(Aim("p99 delay at half of our maximum", "delay_p99", 2.0, 1.3, C_LOOP, CASE),),
    plots=(
        Plot(
            "delay-p99",
            CASE,
            "delay_p99",
            "At the same rate Tidings' p99 is {ours}, {ratio} times a bare C loop's",
            C_LOOP,
        ),
    ),
)
