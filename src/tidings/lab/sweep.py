"""Many loads: message rates over polling intervals, and which transport costs least where.

Owns: which points are measured. Does not own: the formulas, which say what all others would cost, with the
sizes that were measured; the drawing (plane.py).

Two costs have formulas: bytes, and how often the server reads or writes, which is most of its CPU's work. CPU
time itself is measured at the points only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tidings.lab import formulas
from tidings.lab.load import Load, LoadError
from tidings.lab.look import TRANSPORTS
from tidings.lab.measure import Progress, measure
from tidings.lab.result import Result

# Message rates and polling intervals that are measured: from in vain to many at once.
POINTS: Final = ((1.0, 0.25), (4.0, 0.25), (4.0, 1.0), (20.0, 0.25), (20.0, 2.0), (80.0, 1.0))
RATES: Final = tuple(10 ** (exponent / 8) for exponent in range(-16, 21))  # a second: 1 in 100 s to 316
INTERVALS: Final = tuple(10 ** (exponent / 8) for exponent in range(-8, 15))  # seconds: 0.1 to 56
LIFE: Final = 600.0  # seconds that a stream is taken to last, over which its opening is spread
_SECONDS_LEAST: Final = 3.0


@dataclass(frozen=True)
class Cell:
    """A load, and for each transport the bytes of a message and the reads and writes for it."""

    rate: float
    interval: float
    bytes: dict[str, float]
    work: dict[str, float]

    @property
    def fewest_bytes(self) -> str:
        """The transport with the fewest bytes."""
        return min(self.bytes, key=self.bytes.__getitem__)

    @property
    def least_work(self) -> str:
        """The transport with the fewest reads and writes."""
        return min(self.work, key=self.work.__getitem__)


@dataclass(frozen=True)
class Sweep:
    """The measured points, as results and as cells; and all cells, by the formulas."""

    base: Load
    results: Sequence[Result]
    points: Sequence[Cell]
    cells: Sequence[Cell]

    def as_json(self) -> dict[str, Any]:
        """Return what `--sweep --json` prints."""

        def told(cell: Cell) -> dict[str, Any]:
            return {
                "rate": cell.rate,
                "interval": cell.interval,
                "bytes_per_message": cell.bytes,
                "moves_per_message": cell.work,
                "fewest_bytes": cell.fewest_bytes,
                "least_work": cell.least_work,
            }

        return {
            "measured": [
                {**told(cell), "transports": result.as_json()["transports"]}
                for cell, result in zip(self.points, self.results, strict=True)
            ],
            "by_formula": [told(cell) for cell in self.cells],
        }


async def sweep(base: Load, progress: Progress = lambda _what, _share: None) -> Sweep:
    """Measure all points, `base.seconds` together, and carry them on. Raises LoadError or ListenerFailed."""
    each = base.seconds / len(POINTS)
    if each < _SECONDS_LEAST:
        raise LoadError(
            f"A sweep measures {len(POINTS)} points, which {base.seconds:g} s are too few for: --seconds "
            f"{_SECONDS_LEAST * len(POINTS):g} or more."
        )
    results = []
    for done, (rate, interval) in enumerate(POINTS):
        # At a low rate for longer, so that it has its messages.
        load = replace(base, rate=rate, interval=interval, seconds=max(each, 6 / rate))
        results.append(
            await measure(load, _part(progress, done, f"point {done + 1} of {len(POINTS)}"), ramp=0)
        )
    return carry_on(base, results)


def _part(progress: Progress, done: int, name: str) -> Progress:
    return lambda what, share: progress(f"{name}: {what}", (done + share) / len(POINTS))


def carry_on(base: Load, results: Sequence[Result]) -> Sweep:
    """Return the sweep that follows from what was measured."""
    sizes = results[0].sizes
    cells = []
    for rate in RATES:
        for interval in INTERVALS:
            if interval < base.rtt:
                continue
            said = formulas.predict(replace(base, rate=rate, interval=interval, seconds=LIFE), sizes)
            size = {name: of.bytes_up_per_message + of.bytes_down_per_message for name, of in said.items()}
            cells.append(
                Cell(rate, interval, size, {name: of.moves_per_message for name, of in said.items()})
            )
    return Sweep(base, results, [_cell(result) for result in results], cells)


def _cell(result: Result) -> Cell:
    """Return what was measured as a cell; a stream's opening is spread over its life, not over the run."""

    def size(transport: str) -> float:
        found = result.outcomes[transport].figures
        both = (found.bytes_up_per_message or 0.0) + (found.bytes_down_per_message or 0.0)
        if transport in ("sse", "websocket"):
            opened = getattr(result.sizes, transport)
            once = (opened.opening_up + opened.opening_down) * found.clients / max(1, found.delivered)
            both -= once * (1 - result.load.seconds / LIFE)
        return both

    return Cell(
        result.load.rate,
        result.load.interval,
        {transport: size(transport) for transport in TRANSPORTS},
        {name: outcome.figures.moves_per_message or 0.0 for name, outcome in result.outcomes.items()},
    )
