"""One measurement of a fan-out: messages in at one end, counted at all the others.

Owns: the order of the steps, and the checks that void a row. Does not own: rounds, comparison (compare.py).
Invariant: a row is never left out or mended; what is wrong with it stands in `void`.
"""

import time
from dataclasses import dataclass

from harness import load, processes
from harness.servers import Server, running

GENERATOR_LOAD_MOST = 0.85
SERVER_LOAD_FULL = 0.95  # a server that has its whole core busy is its own limit, whatever the generator does
OTHERS_LOAD_MOST = 0.1  # of the server's core: caches go cold, and bursts measure the others
# The publisher's p99: above half an interval messages bunch, which is another load. Below 2 ms it is
# the host's scheduler and not ours.
LATE_INTERVALS = 0.5
LATE_LEAST = 0.002


_SETTLE = 0.3
_WARM_UP = 0.5
_PUBLISHES_ALONE = 100
_LAST_DELIVERY = 15.0


@dataclass(frozen=True)
class Case:
    """What is asked of a server. `rate` is messages a second; 0 is bursts, as fast as they are accepted."""

    transport: str
    subscribers: int = 1_000
    rate: float = 50.0
    seconds: float = 8.0
    size: int = 100
    channels: int = 1
    connections: int = 1
    outstanding: int = 16


@dataclass(frozen=True)
class Row:
    """What came of it. Times are seconds; `*_load` is the share of a core that was busy."""

    server: str
    case: Case
    expected: int
    deliveries: int
    cpu_per_delivery: float
    cpu_per_publish: float
    deliveries_per_second: float
    bytes_per_delivery: float
    delay_p50: float
    delay_p99: float
    delay_p999: float
    samples: int
    late_p99: float
    server_load: float
    generator_load: float
    ksoftirqd_load: float
    others_load: float
    stolen_load: float
    void: tuple[str, ...]
    disturbed: bool  # what voids it is the load's doing, not the server's


def measure(server: Server, case: Case) -> Row:
    """Start the server, load it, and return its row; raises RuntimeError where that cannot even be done."""
    bursts = case.rate == 0
    with (
        running(server) as here,
        # Nobody looks at single delays in bursts; reading in sweeps keeps the generator ahead of the server.
        load.subscribers(
            here,
            case.transport,
            channels=case.channels,
            samples=64 if bursts else 128,
            lazy=0.01 if bursts else 0.0,
        ) as subscribers,
    ):
        before = processes.cpu_seconds(here.pid)
        alone = load.publish(
            here, rate=500, seconds=_PUBLISHES_ALONE / 500, size=case.size, channels=case.channels
        )
        cpu_per_publish = (processes.cpu_seconds(here.pid) - before) / max(alone.answered, 1)

        subscribers.connect(case.subscribers)
        time.sleep(_SETTLE)
        each = case.subscribers / case.channels
        subscribers.mark()
        warm = load.publish(
            here, rate=case.rate or 50, seconds=_WARM_UP, size=case.size, channels=case.channels
        )
        subscribers.wait_for(round(warm.published * each), _LAST_DELIVERY)
        time.sleep(_SETTLE)

        subscribers.mark()
        cpu, soft = processes.cpu_seconds(here.pid), processes.ksoftirqd_seconds()
        core, stolen = processes.core_seconds()
        published = load.publish(
            here,
            rate=case.rate,
            seconds=case.seconds,
            size=case.size,
            channels=case.channels,
            connections=case.connections,
            outstanding=case.outstanding,
        )
        expected = round(published.published * each)
        report = subscribers.wait_for(expected, _LAST_DELIVERY)
        cpu = processes.cpu_seconds(here.pid) - cpu
        soft = processes.ksoftirqd_seconds() - soft
        core, stolen = (
            now - then for now, then in zip(processes.core_seconds(), (core, stolen), strict=True)
        )
        time.sleep(0.1)
        late = subscribers.report()  # what comes now came twice

    took = max(report.last_ns - published.first_ns, 1) / 1e9
    server_load = cpu / report.wall
    generator_load = (report.cpu + published.cpu) / report.wall
    void, disturbed = [], []
    if late.messages != expected:
        void.append(f"{late.messages:,} deliveries, expected {expected:,}")
    if late.errors:
        void.append(f"{late.errors} subscriber errors: {late.error}")
    if published.errors:
        void.append(f"{published.errors} publish errors: {published.error}")
    if generator_load > GENERATOR_LOAD_MOST and not (bursts and server_load >= SERVER_LOAD_FULL):
        disturbed.append(f"generator at {generator_load:.0%} of its core")
    others_load = max(core - cpu - soft, 0) / report.wall
    if others_load > OTHERS_LOAD_MOST:
        disturbed.append(f"others took {others_load:.0%} of the server's core")
    if not bursts and published.late_p99 > max(LATE_LEAST, LATE_INTERVALS / case.rate):
        disturbed.append(f"publisher late: p99 {published.late_p99 * 1e3:.1f} ms")
    if not bursts and published.blocked:
        disturbed.append(f"publisher blocked {published.blocked} times")
    return Row(
        server=server.name,
        case=case,
        expected=expected,
        deliveries=late.messages,
        cpu_per_delivery=cpu / max(report.messages, 1),
        cpu_per_publish=cpu_per_publish,
        deliveries_per_second=report.messages / took,
        bytes_per_delivery=report.bytes / max(report.messages, 1),
        delay_p50=report.delay_p50,
        delay_p99=report.delay_p99,
        delay_p999=report.delay_p999,
        samples=report.samples,
        late_p99=published.late_p99,
        server_load=server_load,
        generator_load=generator_load,
        ksoftirqd_load=soft / report.wall,
        others_load=others_load,
        stolen_load=stolen / report.wall,
        void=(*void, *disturbed),
        disturbed=bool(disturbed) and not void,
    )
