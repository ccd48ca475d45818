"""What the server's core did during a measurement, and what of it voids the row.

Owns: the method's checks that every scenario shares. Does not own: how CPU time is read (processes.py).
Invariant: the same limits hold for every server and every scenario.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from harness import processes
from harness.load import Published, Report

GENERATOR_LOAD_MOST = 0.85
SERVER_LOAD_FULL = 0.95  # a server that has its whole core busy is its own limit, whatever the generator does
SERVER_LOAD_HIGH = 0.85  # with the wait for what is missing, a core that was full may not look so
OTHERS_LOAD_MOST = 0.1  # of the server's core: caches go cold, and bursts measure the others
STOLEN_LOAD_MOST = 0.25  # by the host of a virtual machine, from the same
# The publisher's p99: above half an interval messages bunch, which is another load. Below 2 ms it is
# the host's scheduler and not ours.
LATE_INTERVALS = 0.5
LATE_LEAST = 0.002
# Beyond the last publish: a server that needs longer to deliver it does not sustain the rate.
BEHIND_MOST = 0.5


@dataclass(frozen=True)
class Used:
    """CPU seconds of the server's tree, of its core's ksoftirqd, of others there, and stolen by the host.

    It had so many `cores`; where the load's own is among them (`shared`), the load is among the others.
    """

    cpu: float
    soft: float
    others: float
    stolen: float
    wall: float
    cores: int = 1
    shared: bool = False

    @property
    def load(self) -> float:
        """The share of its cores that the server's tree used."""
        return self.cpu / self.wall / self.cores

    def figures(self) -> dict[str, float]:
        """Return what every row carries of it."""
        return {
            "server_load": self.load,
            "ksoftirqd_load": self.soft / self.wall,
            "others_load": self.others / self.wall / self.cores,
            "stolen_load": self.stolen / self.wall / self.cores,
        }


class Meter:
    """Runs from when it is made."""

    def __init__(self, pid: int, cores: Collection[int] = processes.CORES[:1]) -> None:
        self._pid, self._cores = pid, cores
        self._shared = processes.LOAD_CORE in cores and processes.LOAD_CORE != processes.SERVER_CORE
        self._cpu, self._soft = processes.cpu_seconds(pid), processes.ksoftirqd_seconds()
        self._core, self._stolen = processes.core_seconds(cores)
        self._began = time.monotonic()

    def read(self) -> Used:
        """Return what was used since then."""
        wall = max(time.monotonic() - self._began, 1e-6)
        cpu = processes.cpu_seconds(self._pid) - self._cpu
        soft = processes.ksoftirqd_seconds() - self._soft
        core, stolen = processes.core_seconds(self._cores)
        others = max(core - self._core - cpu - soft, 0.0)
        return Used(cpu, soft, others, stolen - self._stolen, wall, len(self._cores), self._shared)


@dataclass
class Faults:
    """What is wrong with a row so far: the server's part, and what the load and the neighbours did."""

    server: list[str]
    load: list[str]

    @classmethod
    def none(cls) -> "Faults":
        """Return an empty list of each."""
        return cls([], [])

    def counts(self, report: Report, expected: int) -> None:
        """Add deliveries that are missing or too many, and errors on connections."""
        if report.messages != expected:
            self.server.append(f"{report.messages:,} deliveries, expected {expected:,}")
        self.errors(report)

    def errors(self, report: Report) -> None:
        """Add errors on connections."""
        if report.errors:
            self.server.append(f"{report.errors} subscriber errors: {report.error}")

    def publishing(self, published: Published, rate: float) -> None:
        """Add publishes that failed, and what was late where there is a rate."""
        if published.errors:
            self.server.append(f"{published.errors} publish errors: {published.error}")
        if rate and published.late_p99 > max(LATE_LEAST, LATE_INTERVALS / rate):
            self.load.append(f"publisher late: p99 {published.late_p99 * 1e3:.1f} ms")
        if rate and published.blocked:
            self.load.append(f"publisher blocked {published.blocked} times")

    def loads(self, used: Used, load_cpu: float, *, may_fill: bool = False) -> None:
        """Add a generator without room, and neighbours; a server may fill its core where that is asked."""
        load = load_cpu / used.wall
        if load > GENERATOR_LOAD_MOST and not (may_fill and used.load >= SERVER_LOAD_FULL):
            self.load.append(f"generator at {load:.0%} of its core")
        stolen = used.stolen / used.wall / used.cores
        if stolen > STOLEN_LOAD_MOST:
            self.load.append(f"the host took {stolen:.0%} of the server's core")
        # On its own core the load is a neighbour that is meant to be there.
        others = (used.others - (load_cpu if used.shared else 0.0)) / used.wall / used.cores
        if others > OTHERS_LOAD_MOST:
            self.load.append(f"others took {others:.0%} of the server's core")

    @property
    def all(self) -> tuple[str, ...]:
        """Everything that voids the row."""
        return (*self.server, *self.load)

    @property
    def disturbed(self) -> bool:
        """Whether only the load is to blame."""
        return bool(self.load) and not self.server


def behind(used: Used, published: Published, report: Report, expected: int) -> str:
    """Return why a server does not sustain a rate, or "".

    A core that is full has a queue that grows: its delays say how long one has looked. Where messages come
    late or not at all without that, something else is wrong: a fault, and not "n/a".
    """
    over = (report.last_ns - published.last_ns) / 1e9
    full = used.load + used.soft / used.wall
    late = report.messages < expected or over > BEHIND_MOST
    if full >= SERVER_LOAD_FULL or (full >= SERVER_LOAD_HIGH and late and not report.errors):
        return f"does not sustain this rate: its core was {used.load:.0%} busy"
    return ""
