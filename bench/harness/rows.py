"""What a measurement leaves behind: figures of one server, and what is wrong with them.

Owns: the shape of a row. Does not own: what a figure means (figures.py), rounds (compare.py).
Invariant: a row is never left out or mended; what is wrong with it stands in `void`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """What one measurement found. Figures are seconds, bytes, and counts, by the names of figures.py.

    `void` says what is wrong; with `disturbed` it is the load's or the neighbours' doing, so that measuring
    again may help. `unable` says that the server cannot do what was asked: that is "n/a", not a mistake.
    """

    figures: Mapping[str, float]
    void: tuple[str, ...] = ()
    disturbed: bool = False
    unable: str = ""


@dataclass(frozen=True)
class Row:
    """What was found of one server in one round of a comparison. `took` is the whole row, in seconds."""

    scenario: str
    case: str
    transport: str
    server: str
    round: int
    took: float
    figures: Mapping[str, float]
    void: tuple[str, ...] = ()
    disturbed: bool = False
    unable: str = ""

    @property
    def good(self) -> bool:
        """Whether its figures say something about the server."""
        return not self.void and not self.unable

    @property
    def comparison(self) -> tuple[str, str, str]:
        """What it may be compared within."""
        return self.scenario, self.case, self.transport

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def from_plain(content: Mapping[str, Any]) -> Row:
    """Return a row that `plain` gave."""
    return Row(**{**content, "void": tuple(content["void"])})


def of(rows: Iterable[Row], scenario: str, case: str = "", transport: str = "") -> list[Row]:
    """Return a scenario's rows; "" stands for every case or transport."""
    return [
        row
        for row in rows
        if row.scenario == scenario
        and (not case or row.case == case)
        and (not transport or row.transport == transport)
    ]
