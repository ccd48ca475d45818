"""What each figure of a row is called, and in which unit it is shown.

Owns: names, units, digits. Does not own: the figures, which are SI everywhere else (seconds, bytes, one).
"""

from dataclasses import dataclass

MICRO = 1e-6
MILLI = 1e-3


@dataclass(frozen=True)
class Figure:
    """A name with its unit as people read it, what to divide by for it, and the digits that matter."""

    title: str
    unit: str
    divisor: float = 1.0
    digits: int = 2
    more: bool = False  # is better

    @property
    def head(self) -> str:
        """Return the head of a column or axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


FIGURES = {
    "cpu_per_delivery": Figure("CPU per delivery", "µs", MICRO),
    "cpu_per_cycle": Figure("CPU per publish, answer, ask again", "µs", MICRO),
    "cpu_per_publish": Figure("CPU per publish", "µs", MICRO, 1),
    "engine_cpu_per_publish": Figure("the engine's", "µs", MICRO, 1),
    "group": Figure("messages a commit", "", 1.0, 0),
    "cpu_per_followed": Figure("CPU per message followed", "µs", MICRO, 1),
    "parent_cpu_per_followed": Figure("the parent's", "µs", MICRO, 1),
    "cpu_per_trip": Figure("CPU per round trip", "µs", MICRO, 1),
    "cpu_per_connect": Figure("CPU per connect", "µs", MICRO, 0),
    "cpu_per_idle_second": Figure("idle CPU per connection", "µs/s", MICRO),
    "deliveries_per_second": Figure("deliveries", "thousands/s", 1e3, 0, more=True),
    "delivered_per_cpu_second": Figure("deliveries per CPU second", "thousands", 1e3, 0, more=True),
    "requests_per_cpu_second": Figure("requests per CPU second", "thousands", 1e3, 1, more=True),
    "publishes_per_second": Figure("publishes", "thousands/s", 1e3, 1, more=True),
    "trips_per_second": Figure("round trips", "thousands/s", 1e3, 1, more=True),
    "connects_per_second": Figure("connects", "thousands/s", 1e3, 1, more=True),
    "rate": Figure("messages published", "1/s", 1.0, 0),
    "delay_p50": Figure("delay p50", "ms", MILLI),
    "delay_p99": Figure("delay p99", "ms", MILLI),
    "delay_p999": Figure("delay p99.9", "ms", MILLI),
    "trip_p50": Figure("round trip p50", "ms", MILLI),
    "trip_p99": Figure("round trip p99", "ms", MILLI),
    "answer_p50": Figure("answer p50", "ms", MILLI),
    "answer_p99": Figure("answer p99", "ms", MILLI),
    "p99_without": Figure("p99 with no stalled reader", "ms", MILLI),
    "p99_with": Figure("p99 of the others with 1 % stalled", "ms", MILLI),
    "p99_ratio": Figure("with over without", ""),
    "stalled": Figure("readers seen stalled", "", 1.0, 0),
    "bytes_per_delivery": Figure("bytes per delivery, received", "", 1.0, 0),
    "wire_bytes_per_delivery": Figure("bytes per delivered message, both ways", "", 1.0, 0),
    "empties": Figure("empty answers", "%", 0.01, 1),
    "requests_per_delivery": Figure("requests per delivered message", ""),
    "memory_slope": Figure("memory per connection", "kB", 1e3),
    "resident_slope": Figure("resident, per connection", "kB", 1e3),
    "memory_last": Figure("memory with all connections", "MB", 1e6, 0),
    "caught_last": Figure("until all have caught up", "s"),
    "caught_p50": Figure("half of them", "s"),
    "caught_p99": Figure("99 %", "s"),
    "reconnected": Figure("until all are connected", "s"),
    "cpu": Figure("the server's CPU", "s"),
    "bytes_per_client": Figure("bytes per client, both ways", "kB", 1e3, 1),
    "server_load": Figure("load: server", "%", 0.01, 0),
    "generator_load": Figure("generator", "%", 0.01, 0),
    "stolen_load": Figure("host", "%", 0.01, 0),
}

LOADS = ("server_load", "generator_load", "stolen_load")
