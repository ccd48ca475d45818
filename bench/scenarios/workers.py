"""What do two workers deliver, beside one process?

Measures: CPU of the process tree per delivery, at one rate for both, and where each process delivers as much
(one that sleeps in between finds its caches cold, so at one rate the two are dearer).
Takes part: Tidings as one process, and as two workers with their parent, each free to use both cores.
Void: as in a fan-out.

There is no third core for the generator, so it shares the second with either. What it takes there is taken
out by accounts: a core that delivers all the time delivers 1 / (CPU per delivery), whoever else is on the
machine, so two workers deliver 2 · (one's CPU) / (theirs) times as much, and 1.8 times where one's CPU is 0.9
of theirs.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from harness import processes
from harness.compare import Comparison
from harness.delivery import Load, measure
from harness.figures import LOADS
from harness.rows import Found
from harness.scenario import Aim, Options, Scenario
from harness.servers import TIDINGS, TIDINGS_WORKERS, WEBSOCKET, Server

NAME = "workers"
MAIN = "1,000 subscribers, 100 B, 50 a second"
FULL = f"{MAIN} for each process"
_SMALL = "20 channels with 50 each, 100 B, 500 a second"
_SMALL_FULL = "20 channels with 50 each, 100 B, 1,000 a second for each process"
# Of the smaller fan-outs it is what following costs that is divided by fewer.
_CASES = {
    MAIN: Load(WEBSOCKET, rate=50, seconds=2.5),
    FULL: Load(WEBSOCKET, rate=50, seconds=2.5),
    _SMALL: Load(WEBSOCKET, rate=500, channels=20, seconds=2.5),
    _SMALL_FULL: Load(WEBSOCKET, rate=1_000, channels=20, connections=4, seconds=2.5),
}


def _measure(server: Server, case: str) -> Found:
    asked = _CASES[case]
    each = case in (FULL, _SMALL_FULL) and server.name == TIDINGS_WORKERS.name
    return measure(server, replace(asked, rate=asked.rate * 2) if each else asked)


def comparisons(options: Options) -> Iterator[Comparison]:
    """With --full only."""
    ours = options.having(WEBSOCKET, TIDINGS.name)
    if not options.full or not ours:
        return
    for case in _CASES:
        yield Comparison(
            NAME,
            case,
            WEBSOCKET,
            [*(replace(one, cores=processes.CORES) for one in ours), TIDINGS_WORKERS],
            partial(_measure, case=case),
            seconds=5.5,
            rounds=options.asked(2, 5),
        )


SCENARIO = Scenario(
    NAME,
    "What do two workers deliver, beside one process?",
    comparisons,
    ("cpu_per_delivery", "deliveries_per_second", "delay_p50", "delay_p99", *LOADS),
    aims=tuple(
        Aim(
            "one process' CPU per delivery, over that of two workers (0.9 is 1.8 times on two cores)",
            "cpu_per_delivery",
            0.9,
            0.95,
            TIDINGS_WORKERS.name,
            case,
            least=True,
        )
        for case in (MAIN, FULL)
    ),
)
