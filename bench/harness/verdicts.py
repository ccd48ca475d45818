"""Does each aim hold? Ratios within one run, round by round.

Owns: judging aims over rows. Does not own: the aims (in the scenarios), how they are shown (tables.py).
Invariant: "won" is said only where the ranges of the two servers do not overlap.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import compare, rows
from harness.compare import Spread
from harness.figures import FIGURES
from harness.rows import Row
from harness.scenario import Aim, Scenario
from harness.standing import TIDINGS

_ROUNDS_LEAST = 2  # one value is no range


@dataclass(frozen=True)
class Verdict:
    """What came of one aim in one comparison. `found` is None where there is nothing to judge by."""

    scenario: str
    case: str
    transport: str
    aim: Aim
    found: Spread | None
    must_holds: bool | None
    aim_holds: bool | None
    standing: str  # against another server: "won", "lost", "level" (ranges overlap), or ""
    why_not: str = ""

    def text(self, value: float) -> str:
        """Return a bound or a figure in the unit that people read."""
        if self.aim.against or self.aim.figure not in FIGURES:
            return f"{value:.2f}"
        figure = FIGURES[self.aim.figure]
        return f"{value / figure.divisor:.2f} {figure.unit}".strip()

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def _standing(measured: Sequence[Row], aim: Aim) -> str:
    ours = compare.of(measured, TIDINGS, aim.figure)
    theirs = compare.of(measured, aim.against, aim.figure)
    if not ours or not theirs or min(ours.rounds, theirs.rounds) < _ROUNDS_LEAST:
        return ""
    if not compare.apart(ours, theirs):
        return "level"
    return "won" if (ours.median > theirs.median) == aim.least else "lost"


def _why_not(measured: Sequence[Row], aim: Aim) -> str:
    for server in (TIDINGS, aim.against):
        of_it = [row for row in measured if row.server == server]
        if server and not any(row.good for row in of_it):
            reasons = [row.unable or "; ".join(row.void) for row in of_it]
            return f"{server}: {reasons[0] if reasons else 'not measured'}"
    return "no round in which both were measured"


def judge(scenarios: Iterable[Scenario], measured: Sequence[Row]) -> list[Verdict]:
    """Return a verdict for each aim and each comparison that it is about, where it was measured."""
    verdicts = []
    for scenario in scenarios:
        for aim in scenario.aims:
            about = rows.of(measured, scenario.name, aim.case, aim.transport)
            for _, case, transport in dict.fromkeys(row.comparison for row in about):
                within = rows.of(about, scenario.name, case, transport)
                if not any(aim.figure in row.figures for row in within):
                    continue
                found = (
                    compare.ratio(within, TIDINGS, aim.against, aim.figure)
                    if aim.against
                    else compare.of(within, TIDINGS, aim.figure)
                )
                if aim.against and not any(row.server == aim.against for row in within):
                    continue
                verdicts.append(
                    Verdict(
                        scenario.name,
                        case,
                        transport,
                        aim,
                        found,
                        _holds(found, aim.must, least=aim.least),
                        _holds(found, aim.aim, least=aim.least),
                        _standing(within, aim) if aim.against else "",
                        "" if found else _why_not(within, aim),
                    )
                )
    return verdicts


def _holds(found: Spread | None, bound: float, *, least: bool) -> bool | None:
    if found is None:
        return None
    return found.median >= bound if least else found.median <= bound
