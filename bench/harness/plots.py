"""The results as plots, each readable alone in somebody's slide: the finding as its title, its source below.

Owns: which rows become which bars, and the words around them. Does not own: how they look (bars.py), and
which figures are drawn (the scenarios).
Invariant: a void row is not drawn; the title says what the bars under it show.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import bars, compare, rows
from harness.bars import Bar, Picture
from harness.figures import FIGURES
from harness.results import Results, Run
from harness.rows import Row
from harness.scenario import Plot, Scenario
from harness.standing import TIDINGS

_ORDER = ("HTTP", "polling", "long-polling", "sse", "websocket")  # of the story; titles are about the last
_COMMAND_MOST = 120


def _chosen(plot: Plot, scenario: str, measured: Sequence[Row]) -> list[Row]:
    """Return the rows of one case: the plot's own, or that with most servers; of all where bars are cases."""
    of_it = [row for row in rows.of(measured, scenario, plot.case) if row.good and plot.figure in row.figures]
    if plot.labels == "case" or not of_it:
        return of_it
    cases = {row.case: len({one.server for one in of_it if one.case == row.case}) for row in of_it}
    most = max(cases, key=lambda case: cases[case])
    return [row for row in of_it if row.case == most]


def _group(plot: Plot, of_it: Sequence[Row]) -> list[Bar]:
    found = []
    if plot.labels == "case":
        for case in dict.fromkeys(row.case for row in of_it):
            one = compare.of([row for row in of_it if row.case == case], TIDINGS, plot.figure)
            found += [Bar(case, one, ours=True)] if one else []
        return found
    for server in dict.fromkeys(row.server for row in of_it):
        one = compare.of(of_it, server, plot.figure)
        found += [Bar(server, one, ours=server == TIDINGS)] if one else []
    return sorted(found, key=lambda bar: bar.found.median, reverse=FIGURES[plot.figure].more)


def _finding(plot: Plot, of_it: Sequence[Row]) -> str:
    """Return the title, from the rows of one transport."""
    figure = FIGURES[plot.figure]
    ours = compare.of(of_it, TIDINGS, plot.figure)
    ratio = compare.ratio(of_it, TIDINGS, plot.against, plot.figure)
    words = {}
    if ours:
        said = f"{ours.median / figure.divisor:,.{min(figure.digits, 1)}f} {figure.unit}".strip()
        words["ours"] = said.replace("thousands/s", "thousand a second").replace("thousands", "thousand")
    if ratio:
        words["ratio"] = f"{ratio.median:.2g}"
    try:
        return plot.finding.format(**words)
    except KeyError:  # there is nothing to say it from
        return f"{figure.title[0].upper()}{figure.title[1:]}"


def _source(run: Run, most_rounds: int) -> str:
    here = run.machine
    command = run.command if len(run.command) <= _COMMAND_MOST else f"{run.command[:_COMMAND_MOST]}…"
    ranges = f", the line their range, {most_rounds} at most" if most_rounds > 1 else ""
    return (
        f"{command}\n{run.began[:10]}, {here['cpu']}, {here['cores']} cores, Linux {here['kernel']}, "
        f"Python {here['python']}. Median of the rounds{ranges}."
    )


def pictures(scenarios: Sequence[Scenario], results: Results) -> Iterator[Picture]:
    """Return every plot for which there are rows."""
    for scenario in scenarios:
        for plot in scenario.plots:
            of_it = _chosen(plot, scenario.name, results.all_rows)
            by_transport = {t: [row for row in of_it if row.transport == t] for t in _ORDER}
            groups = [(t, drawn) for t in _ORDER if (drawn := _group(plot, by_transport[t]))]
            if not groups:
                continue
            told = by_transport[groups[-1][0]]
            yield Picture(
                plot.name,
                _finding(plot, told),
                told[0].case if plot.labels == "server" else plot.case,
                _source(
                    results.runs[results.of_run[told[0].comparison]],
                    max(bar.found.rounds for _, drawn in groups for bar in drawn),
                ),
                FIGURES[plot.figure],
                groups,
            )


def draw(scenarios: Sequence[Scenario], results: Results, folder: Path) -> list[Path]:
    """Draw them all; return the files. Raises RuntimeError where matplotlib is not installed."""
    return [file for picture in pictures(scenarios, results) for file in bars.draw(picture, folder)]
