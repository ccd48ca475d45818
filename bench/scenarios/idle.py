"""What does a connection cost that has nothing to do?

Measures: the server's memory (Pss, all its processes) at several numbers of connections, and its slope from
1,000 to the last; with --full, also the CPU of the heartbeats, over a stretch that holds each connection's
heartbeat once. The kernel's memory for sockets is not in it. Takes part: everyone.
Void: a connection lost, an error. Memory hardly varies between rounds: two are enough, whatever --full
asks.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial

from harness import load, processes
from harness.compare import Comparison
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Aim, Options, Plot, Scenario
from harness.servers import LONG_POLLING, SSE, WEBSOCKET, Server, running
from harness.standing import C_LOOP, NCHAN, SOCKET_IO, STARLETTE, TIDINGS, UVLOOP, WS

NAME = "idle"
_FIRST = 1_000  # the slope begins here: what a server sets up once is not counted for any connection
_SETTLE = 1.0
_HEARTBEATS = {WEBSOCKET: 25.0, SSE: 15.0}
_SHORT = (TIDINGS, C_LOOP, UVLOOP, NCHAN, WS, SOCKET_IO, STARLETTE)


def _case(connections: int) -> str:
    return f"{connections:,} idle connections"


def _measure(server: Server, transport: str, steps: Sequence[int], watch: float) -> Found:
    memory: list[tuple[int, int]] = []
    figures: dict[str, float] = {}
    with running(server) as here, load.subscribers(here, transport) as subscribers:
        connected = 0
        for step in steps:
            if step > connected:
                subscribers.connect(step - connected)
                connected = step
            time.sleep(_SETTLE)
            memory.append(processes.memory(here.pid))
            figures[f"memory_at_{step}"] = float(memory[-1][1])
        if watch:
            meter = Meter(here.pid)
            time.sleep(watch)
            used = meter.read()
            figures["cpu_per_idle_second"] = used.cpu / used.wall / connected
        report = subscribers.report()
    faults = Faults.none()
    faults.errors(report)
    if report.connected != connected:
        faults.server.append(f"{report.connected:,} of {connected:,} connections left at the end")
    first, more = steps.index(_FIRST), steps[-1] - _FIRST
    for name, which in (("resident_slope", 0), ("memory_slope", 1)):
        figures[name] = (memory[-1][which] - memory[first][which]) / more
    figures["memory_last"] = float(memory[-1][1])
    return Found(figures, faults.all)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full 18,000 to everyone, and 19,000 with heartbeats to ours; else 5,000 to the best known."""
    steps = (0, _FIRST, 10_000, 18_000) if options.full else (0, _FIRST, 5_000)
    for transport in (WEBSOCKET, SSE, LONG_POLLING):
        standing = options.having(transport, *(() if options.full else _SHORT))
        yield Comparison(
            NAME,
            _case(steps[-1]),
            transport,
            standing,
            partial(_measure, transport=transport, steps=steps, watch=0.0),
            seconds=12.0 if options.full else 6.0,
            rounds=min(options.asked(1, 1), 2),
        )
    if options.full:
        for transport, every in _HEARTBEATS.items():
            yield Comparison(
                NAME,
                "19,000 idle connections and their heartbeats",
                transport,
                options.having(transport, TIDINGS),
                partial(_measure, transport=transport, steps=(_FIRST, 19_000), watch=every + 1.0),
                seconds=10.0 + every,
                rounds=min(options.asked(1, 2), 2),
            )


SCENARIO = Scenario(
    NAME,
    "What does a connection cost that has nothing to do?",
    comparisons,
    ("memory_slope", "resident_slope", "memory_last", "cpu_per_idle_second"),
    aims=(
        Aim("memory per idle connection", "memory_slope", 4_000, 2_500),
        Aim("idle CPU per connection with heartbeats", "cpu_per_idle_second", 1.5e-6, 0.5e-6),
    ),
    plots=(
        Plot("idle-memory", "", "memory_slope", "An idle connection holds {ours} of Tidings' memory", NCHAN),
    ),
)
