"""What does a delivery cost the server's CPU, at a rate that all can sustain?

Measures: CPU of the server's process tree per message that arrived, on open connections and by long-polling
(there it is the whole cycle of publish, answer and ask again). Takes part: everyone with 1,000 subscribers
and 100 bytes; Tidings, the C loop and Nchan with other numbers, sizes and channels.
Void: a delivery missing or too many, an error, a generator above 85 % of its core, a late publisher. A
server that does not sustain the rate is "n/a".
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from harness.compare import Comparison
from harness.delivery import Load, measure
from harness.figures import LOADS
from harness.rows import Found
from harness.scenario import Aim, Options, Plot, Scenario
from harness.servers import LONG_POLLING, SSE, WEBSOCKET, Server
from harness.standing import C_LOOP, NCHAN, PYTHON_SOCKET_IO, SOCKET_IO, STARLETTE, TIDINGS, WS

NAME = "fanout"
# What even the slowest can sustain, and what the bounds are about, which python-socketio cannot.
MAIN = "1,000 subscribers, 100 B, 10 a second"
BRISK = "1,000 subscribers, 100 B, 50 a second"
_BRISK = {WEBSOCKET: (TIDINGS, C_LOOP, NCHAN, WS, SOCKET_IO, STARLETTE), SSE: (TIDINGS, C_LOOP, NCHAN)}
_FEW = (TIDINGS, C_LOOP)
_SOME = (TIDINGS, C_LOOP, NCHAN)

# What each case asks, for which transports, and of whom. Rates keep the C loop's core at a quarter or less.
_CASES: dict[str, tuple[Load, dict[str, tuple[str, ...]]]] = {
    "100 subscribers, 100 B, 100 a second": (Load("", 100, rate=100), {WEBSOCKET: _FEW}),
    "10,000 subscribers, 100 B, 3 a second": (Load("", 10_000, rate=3), {WEBSOCKET: _FEW, SSE: _FEW}),
    "1,000 channels with 10 each, 100 B, 1,000 a second": (
        Load("", 10_000, rate=1_000, channels=1_000),
        {WEBSOCKET: _SOME},
    ),
    "10,000 personal channels, 100 B, 2,000 a second": (
        Load("", 10_000, rate=2_000, channels=10_000),
        {WEBSOCKET: _FEW},
    ),
    "1,000 subscribers, 1 kB, 20 a second": (Load("", rate=20, size=1_000), {WEBSOCKET: _FEW}),
    "1,000 subscribers, 16 kB, 10 a second": (Load("", rate=10, size=16_000), {WEBSOCKET: _SOME}),
}


def _deliver(server: Server, asked: Load) -> Found:
    """Return what is found, under the names that fit the transport and the channels."""
    found = measure(server, asked)
    if asked.transport != LONG_POLLING:
        return found
    figures = dict(found.figures)
    figures["cpu_per_cycle"] = figures.pop("cpu_per_delivery")
    return replace(found, figures=figures)


def comparisons(options: Options) -> Iterator[Comparison]:
    """Everyone in the main case, the known ones at a brisk rate; the other cases only with --full."""
    for transport in (WEBSOCKET, SSE, LONG_POLLING):
        yield Comparison(
            NAME,
            MAIN,
            transport,
            options.having(transport),
            partial(_deliver, asked=Load(transport, rate=10, seconds=2.5)),
            seconds=4.5,
            rounds=options.asked(2, 5),
        )
    for transport, names in _BRISK.items():
        yield Comparison(
            NAME,
            BRISK,
            transport,
            options.having(transport, *names),
            partial(_deliver, asked=Load(transport, rate=50, seconds=2.5)),
            seconds=4.5,
            rounds=options.asked(2, 5),
        )
    if not options.full:
        return
    for case, (asked, transports) in _CASES.items():
        for transport, names in transports.items():
            yield Comparison(
                NAME,
                case,
                transport,
                options.having(transport, *names, channels=asked.channels > 1),
                partial(_deliver, asked=replace(asked, transport=transport, seconds=2.0)),
                seconds=4.2 if asked.subscribers <= 1_000 else 6.0,
                rounds=options.asked(1, 5),
            )


def _live(
    against: str, must: float, aim: float, transports: tuple[str, ...], case: str = BRISK
) -> Iterator[Aim]:
    for transport in transports:
        yield Aim("CPU per live delivery", "cpu_per_delivery", must, aim, against, case, transport)


SCENARIO = Scenario(
    NAME,
    "What does a delivery cost the server's CPU, at a rate that all can sustain?",
    comparisons,
    ("cpu_per_delivery", "cpu_per_cycle", "bytes_per_delivery", "cpu_per_publish", *LOADS),
    aims=(
        *_live(C_LOOP, 1.5, 1.15, (WEBSOCKET, SSE)),
        *_live(NCHAN, 1.0, 0.75, (WEBSOCKET, SSE)),
        *_live(WS, 0.6, 0.4, (WEBSOCKET,)),
        *_live(SOCKET_IO, 0.35, 0.25, (WEBSOCKET,)),
        *_live(STARLETTE, 0.35, 0.12, (WEBSOCKET,)),
        *_live(PYTHON_SOCKET_IO, 0.1, 0.05, (WEBSOCKET,), MAIN),
        Aim("CPU per publish, answer, ask again", "cpu_per_cycle", 1.2, 0.8, NCHAN, MAIN, LONG_POLLING),
    ),
    plots=(
        Plot(
            "cpu-per-delivery",
            MAIN,
            "cpu_per_delivery",
            "A delivery costs Tidings {ours} of CPU, {ratio} times a bare C loop's",
            C_LOOP,
        ),
        Plot(
            "cpu-per-long-poll",
            MAIN,
            "cpu_per_cycle",
            "A long-poll's cycle costs Tidings {ours} of CPU, {ratio} times Nchan's",
            NCHAN,
        ),
    ),
)
