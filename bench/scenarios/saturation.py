"""How many deliveries a second, when messages come as fast as they are accepted?

Measures: deliveries a second to 1,000 subscribers, published on 8 connections with 8 unanswered on each.
What falls into one turn of an event loop may be joined there. Takes part: everyone.
Void: a delivery missing or too many, an error; a generator above 85 % of its core, unless the server has
filled its own.
"""

from collections.abc import Iterator
from functools import partial

from harness.compare import Comparison
from harness.delivery import Load, measure
from harness.figures import LOADS
from harness.scenario import Aim, Options, Plot, Scenario
from harness.servers import SSE, WEBSOCKET
from harness.standing import C_JOINED, C_LOOP, NCHAN, SOCKET_IO, TIDINGS, WS

NAME = "saturation"
CASE = "bursts: 1,000 subscribers, 100 B, 8 connections with 8 unanswered"
_SHORT = (TIDINGS, C_LOOP, C_JOINED, NCHAN, WS, SOCKET_IO)


def comparisons(options: Options) -> Iterator[Comparison]:
    """Everyone with --full, else the loops, Nchan and the best known of Node."""
    for transport in (WEBSOCKET, SSE):
        everyone = options.having(transport) if options.full else []
        yield Comparison(
            NAME,
            CASE,
            transport,
            options.having(transport, *_SHORT) + [s for s in everyone if s.name not in _SHORT],
            partial(measure, asked=Load(transport, rate=0, seconds=1.5, connections=8, outstanding=8)),
            seconds=3.9,
            rounds=options.asked(2, 5),
        )


SCENARIO = Scenario(
    NAME,
    "How many deliveries a second, when messages come as fast as they are accepted?",
    comparisons,
    ("deliveries_per_second", "cpu_per_delivery", "bytes_per_delivery", *LOADS),
    aims=(Aim("deliveries a second in bursts", "deliveries_per_second", 2.0, 4.0, C_LOOP, CASE, least=True),),
    plots=(
        Plot(
            "bursts",
            CASE,
            "deliveries_per_second",
            "In bursts Tidings delivers {ours}, {ratio} times a C loop that sends one by one",
            C_LOOP,
        ),
    ),
)
