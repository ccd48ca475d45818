"""One measurement of a fan-out: messages in at one end, counted at all the others.

Owns: the order of the steps. Does not own: what voids a row (meter.py), rounds, comparison (compare.py).
Invariant: what is counted is exactly what was published between the mark and the report.
"""

import time
from dataclasses import dataclass

from harness import load, processes
from harness.meter import Faults, Meter, behind
from harness.rows import Found
from harness.servers import Server, running

_SETTLE = 0.3
_WARM_UP = 0.5
_PUBLISHES_ALONE = 100
LAST_DELIVERY = 10.0


@dataclass(frozen=True)
class Load:
    """What is asked of a server. `rate` is messages a second; 0 is bursts, as fast as they are accepted."""

    transport: str
    subscribers: int = 1_000
    rate: float = 50.0
    seconds: float = 4.0
    size: int = 100
    channels: int = 1
    connections: int = 1
    outstanding: int = 16
    samples: int = 128

    @property
    def each(self) -> float:
        """How many subscribers hear a message."""
        return self.subscribers / self.channels


def measure(server: Server, asked: Load) -> Found:
    """Start the server, load it, and return what came of it; raises RuntimeError where it cannot."""
    bursts = asked.rate == 0
    size, channels = asked.size, asked.channels
    with (
        running(server) as here,
        # Nobody looks at single delays in bursts; reading in sweeps keeps the generator ahead of the server.
        load.subscribers(
            here,
            asked.transport,
            channels=channels,
            samples=64 if bursts else asked.samples,
            lazy=0.01 if bursts else 0.0,
        ) as subscribers,
    ):
        before = processes.cpu_seconds(here.pid)
        alone = load.publish(here, rate=500, seconds=_PUBLISHES_ALONE / 500, size=size, channels=channels)
        cpu_per_publish = (processes.cpu_seconds(here.pid) - before) / max(alone.answered, 1)

        subscribers.connect(asked.subscribers)
        time.sleep(_SETTLE)
        subscribers.mark()
        # At least once around the channels' subscribers, and caches as warm as they will be.
        warm = load.publish(here, rate=max(asked.rate, 4.0), seconds=_WARM_UP, size=size, channels=channels)
        subscribers.wait_for(round(warm.published * asked.each), LAST_DELIVERY)
        time.sleep(_SETTLE)

        subscribers.mark()
        meter = Meter(here.pid, server.cores)
        published = load.publish(
            here,
            rate=asked.rate,
            seconds=asked.seconds,
            size=size,
            channels=channels,
            connections=asked.connections,
            outstanding=asked.outstanding,
        )
        expected = round(published.published * asked.each)
        report = subscribers.wait_for(expected, LAST_DELIVERY)
        used = meter.read()
        time.sleep(0.1)
        late = subscribers.report()  # what comes now came twice

    faults = Faults.none()
    faults.counts(late, expected)
    faults.publishing(published, asked.rate)
    faults.loads(used, report.cpu + published.cpu, may_fill=bursts)
    unable = "" if bursts else behind(used, published, report, expected)
    took = max(report.last_ns - published.first_ns, 1) / 1e9
    figures = {
        "cpu_per_delivery": used.cpu / max(report.messages, 1),
        "cpu_per_publish": cpu_per_publish,
        "deliveries_per_second": report.messages / took,
        "bytes_per_delivery": report.bytes / max(report.messages, 1),
        "delay_p50": report.delay_p50,
        "delay_p99": report.delay_p99,
        "delay_p999": report.delay_p999,
        "samples": float(report.samples),
        "late_p99": published.late_p99,
        "deliveries": float(late.messages),
        "generator_load": (report.cpu + published.cpu) / used.wall,
        **used.figures(),
    }
    return Found(figures, faults.all, faults.disturbed and not unable, unable)
