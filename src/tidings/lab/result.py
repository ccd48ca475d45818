"""What a run has found: for each transport the measured figures, what the formulas said, and the difference.

Owns: the figures and their JSON. Does not own: measuring (measure.py), or showing them (table.py, plot.py).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from tidings.lab.formulas import Prediction, deviation
from tidings.lab.load import Load
from tidings.lab.sizes import Sizes
from tidings.lab.tally import Tally

LATE_MOST: Final = 0.005  # seconds: more than a message takes on this machine is the machine's fault


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One transport's figures. What there is no figure of is None: a delay where nothing was
    delivered, a CPU time where publishing is nearly all that the server had to do.

    Bytes are those of HTTP and WebSocket, heads included, without TCP and TLS. `moves` are the pieces they
    went in, up and down: the server's reads and writes. `memory_per_client` is bytes.
    """

    clients: int
    requests: int
    empty_answers: int
    empty_share: float
    delivered: int
    bytes_up_per_message: float | None
    bytes_down_per_message: float | None
    moves_per_message: float | None
    delay_mean_s: float | None
    delay_p50_s: float | None
    delay_p99_s: float | None
    server_cpu_us_per_message: float | None
    memory_per_client: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One transport: measured, predicted, and by which part the two differ."""

    figures: Figures
    predicted: dict[str, float | None]
    deviation: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A whole run. `late_p99_s` is how late the publisher was, `publish_cpu_us` what a publish costs, and
    `idle_load` the CPU seconds a second that a server uses by itself.
    """

    load: Load
    sizes: Sizes
    published: int
    late_p99_s: float
    publish_cpu_us: float
    idle_load: float
    outcomes: dict[str, Outcome]

    @property
    def disturbed(self) -> bool:
        """Whether the machine was too busy for the delays to say much: the publisher itself came late."""
        return self.late_p99_s > LATE_MOST

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "load": asdict(self.load),
            "sizes": asdict(self.sizes),
            "published": self.published,
            "disturbed": self.disturbed,
            "publisher_late_p99_s": self.late_p99_s,
            "publish_cpu_us": self.publish_cpu_us,
            "server_idle_load": self.idle_load,
            "transports": {
                transport: {
                    **asdict(outcome.figures),
                    "predicted": outcome.predicted,
                    "deviation": outcome.deviation,
                }
                for transport, outcome in self.outcomes.items()
            },
        }


def figures(tally: Tally, load: Load, *, cpu_seconds: float | None, memory: float) -> Figures:
    """Return the figures of one transport's clients together."""
    delays = sorted(tally.delays)
    delivered = len(delays)

    def each(total: float) -> float | None:
        return total / delivered if delivered else None

    return Figures(
        clients=load.clients,
        requests=tally.requests,
        empty_answers=tally.empty,
        empty_share=tally.empty / tally.answers if tally.answers else 0.0,
        delivered=delivered,
        bytes_up_per_message=each(tally.up),
        bytes_down_per_message=each(tally.down),
        moves_per_message=each(tally.moves),
        delay_mean_s=statistics.fmean(delays) if delays else None,
        delay_p50_s=quantile(delays, 0.5),
        delay_p99_s=quantile(delays, 0.99),
        server_cpu_us_per_message=None if cpu_seconds is None else each(cpu_seconds * 1e6),
        memory_per_client=memory,
    )


COMPARED: Final = (
    "requests",
    "empty_share",
    "bytes_up_per_message",
    "bytes_down_per_message",
    "moves_per_message",
    "delay_mean_s",
    "delay_p50_s",
    "delay_p99_s",
)


def compare(found: Figures, said: Prediction, load: Load) -> Outcome:
    """Return the figures beside what the formulas say of them."""
    predicted: dict[str, float | None] = {"requests": said.requests_per_second * load.seconds * load.clients}
    predicted |= {name: getattr(said, name) for name in COMPARED if name != "requests"}
    off = {name: deviation(getattr(found, name), predicted[name]) for name in COMPARED}
    if said.empty_share * (predicted["requests"] or 0.0) < 1:
        off["empty_share"] = None  # less than one is expected: one more or none is no deviation
    return Outcome(figures=found, predicted=predicted, deviation=off)


def quantile(rising: Sequence[float], q: float) -> float | None:
    """Return the value that a share `q` of them is at or below."""
    return rising[max(0, math.ceil(q * len(rising)) - 1)] if rising else None
