"""Servers in turn, A B A B: what the machine does meanwhile happens to all of them alike.

Owns: rounds, medians with ranges, ratios within a round. Does not own: what one measurement is.
Invariant: a ratio is taken between neighbours in time, never between medians of different hours.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from harness.rows import Found, Row
from harness.servers import Server

_AGAIN = 2  # a row that the load spoilt
_ERRORS_MOST = 2  # rows in which a server could not be measured at all; then it is left alone

Step = Callable[[str, float], None]


@dataclass(frozen=True)
class Comparison:
    """One question asked of several servers in turn. `seconds` is about how long one row takes."""

    scenario: str
    case: str
    transport: str
    servers: Sequence[Server]
    measure: Callable[[Server], Found]
    seconds: float
    rounds: int


@dataclass(frozen=True)
class Spread:
    """A median with its range over the rounds."""

    median: float
    least: float
    most: float
    rounds: int

    def text(self, unit: float = 1.0, digits: int = 2) -> str:
        """Return it as "3.41 (3.30-3.58)", divided by `unit`."""
        m, a, b = self.median / unit, self.least / unit, self.most / unit
        if self.rounds == 1:
            return f"{m:,.{digits}f}"
        return f"{m:,.{digits}f} ({a:,.{digits}f}-{b:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """Return median and range, or None where there is no value."""
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def _by_round(rows: Iterable[Row], server: str, figure: str) -> dict[int, float]:
    return {
        row.round: row.figures[figure]
        for row in rows
        if row.server == server and row.good and figure in row.figures
    }


def of(rows: Iterable[Row], server: str, figure: str) -> Spread | None:
    """Return a figure of one server over its good rows, which are of one comparison."""
    return spread(list(_by_round(rows, server, figure).values()))


def ratio(rows: Sequence[Row], over: str, under: str, figure: str) -> Spread | None:
    """Return the ratio of a figure between two servers, round by round."""
    tops, bottoms = _by_round(rows, over, figure), _by_round(rows, under, figure)
    return spread([tops[number] / bottoms[number] for number in tops if bottoms.get(number)])


def apart(a: Spread | None, b: Spread | None) -> bool:
    """Return whether the ranges do not overlap: only then one of the two has won."""
    return a is not None and b is not None and (a.most < b.least or b.most < a.least)


def _once(comparison: Comparison, server: Server, number: int) -> Row:
    began = time.monotonic()
    try:
        found = comparison.measure(server)
    except Exception as error:  # whatever it is, it is this row's, and the others go on
        found = Found({}, void=(f"not measured: {type(error).__name__}: {str(error)[:500]}",))
    return Row(
        scenario=comparison.scenario,
        case=comparison.case,
        transport=comparison.transport,
        server=server.name,
        round=number,
        took=time.monotonic() - began,
        figures=dict(found.figures),
        void=found.void,
        disturbed=found.disturbed,
        unable=found.unable,
    )


def in_turn(comparison: Comparison, step: Step, keep: Callable[[Row], None]) -> list[Row]:
    """Hand `keep` one row for each server and round, measured in turn; return the rows that were set aside.

    Only a row that the load itself spoilt is set aside and measured again, twice at most. What a server did
    wrong stays. A server that cannot do what is asked, or could not be measured twice, is not asked again.
    """
    aside: list[Row] = []
    errors: dict[str, int] = {}
    for number in range(1, comparison.rounds + 1):
        for server in comparison.servers:
            step(f"{comparison.case}, round {number}: {server.name}", comparison.seconds)
            if errors.get(server.name, 0) >= _ERRORS_MOST:
                continue
            for _ in range(_AGAIN):
                row = _once(comparison, server, number)
                if not row.disturbed:
                    break
                aside.append(row)
            else:
                row = _once(comparison, server, number)
            if row.unable:
                errors[server.name] = _ERRORS_MOST
            elif not row.figures:
                errors[server.name] = errors.get(server.name, 0) + 1
            keep(row)
    return aside
