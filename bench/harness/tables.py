"""The results as tables: on the terminal, and as Markdown.

Owns: rows and columns, verdicts, what is void and who is missing. Does not own: any figure.
Invariant: both show the same cells; a void row is told beside its table, and never counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from harness import compare
from harness.compare import Spread
from harness.figures import FIGURES, LOADS, Figure
from harness.results import Results, machine_line
from harness.rows import Row
from harness.scenario import Scenario
from harness.standing import TIDINGS
from harness.verdicts import Verdict

# As everywhere in the project; a terminal does not say whether its background is light.
COLOURS = {
    "polling": "#E69F00",
    "long-polling": "#B5578E",
    "sse": "#009E73",
    "websocket": "#0072B2",
    "HTTP": "#5a636c",  # publishing
}
NAMES = {
    "polling": "polling",
    "long-polling": "long-polling",
    "sse": "SSE",
    "websocket": "WebSocket",
    "HTTP": "HTTP",
}


@dataclass(frozen=True)
class Sheet:
    """One comparison as cells. `remarks` are what is void, was measured again, or cannot be done."""

    title: str
    head: Sequence[str]
    cells: Sequence[Sequence[str]]
    remarks: Sequence[str]
    transport: str


def _figure(name: str) -> Figure:
    if name in FIGURES:
        return FIGURES[name]
    if name.startswith("p99_"):
        return Figure(f"p99 {NAMES.get(name[4:], name[4:])}", "ms", 1e-3)
    return Figure(name.replace("_", " "), "")


def _cell(found: Spread | None, figure: Figure) -> str:
    return found.text(figure.divisor, figure.digits) if found else ""


def _loads(measured: Sequence[Row], server: str) -> str:
    loads = [compare.of(measured, server, name) for name in LOADS]
    return ", ".join(f"{load.median:.0%}" if load else "?" for load in loads)


def sheet(scenario: Scenario, measured: Sequence[Row], aside: Sequence[Row]) -> Sheet:
    """Return a comparison's rows as cells: a line for each server, in the order in which they ran."""
    present = [n for n in scenario.figures if n not in LOADS and any(n in row.figures for row in measured)]
    loads = any(set(LOADS) <= set(row.figures) for row in measured)
    servers = list(dict.fromkeys(row.server for row in measured))
    compared = next((name for name in (*scenario.compared, *present) if name in present), "")
    ratios = len(servers) > 1 and TIDINGS in servers
    head = ["server", *(_figure(name).head for name in present)]
    if ratios:
        head.append("times Tidings'")
    if loads:
        head.append("load of server, generator, host")
    cells = []
    for server in servers:
        of_it = [row for row in measured if row.server == server]
        if any(row.good for row in of_it):
            line = [_cell(compare.of(measured, server, name), _figure(name)) for name in present]
        else:
            word = "n/a" if any(row.unable for row in of_it) else "void"
            line = [word] * len(present)
        if ratios:
            found = compare.ratio(measured, server, TIDINGS, compared)
            line.append("1" if server == TIDINGS and found else found.text() if found else "")
        if loads:
            line.append(_loads(measured, server))
        cells.append([server, *line])
    transport = measured[0].transport if measured else ""
    title = f"{measured[0].case}, {NAMES.get(transport, transport)}" if measured else ""
    return Sheet(title, head, cells, list(_remarks(measured, aside)), transport)


def _remarks(measured: Sequence[Row], aside: Sequence[Row]) -> Iterator[str]:
    said: dict[str, list[int]] = {}
    for row in measured:
        if row.unable:
            said.setdefault(f"n/a: {row.server}: {row.unable}", []).append(row.round)
        elif row.void:
            said.setdefault(f"void: {row.server}: {'; '.join(row.void)}", []).append(row.round)
    for what, numbers in said.items():
        yield f"{what} (round {', '.join(map(str, numbers))})"
    if aside:
        last = aside[-1]
        yield f"measured again: {len(aside)} rows, the last {last.server}: {'; '.join(last.void)}"


def sheets(scenarios: Sequence[Scenario], results: Results) -> Iterator[tuple[Scenario, list[Sheet]]]:
    """Return every scenario that was measured, with its sheets."""
    for scenario in scenarios:
        keys = [key for key in results.rows if key[0] == scenario.name and results.rows[key]]
        if keys:
            yield scenario, [sheet(scenario, results.rows[key], results.aside[key]) for key in keys]


def _mark(*, holds: bool | None) -> str:
    return "n/a" if holds is None else "holds" if holds else "does not hold"


def verdict_cells(verdict: Verdict) -> list[str]:
    """Return an aim and what came of it."""
    aim, sign = verdict.aim, "≥" if verdict.aim.least else "≤"
    transport = NAMES.get(verdict.transport, verdict.transport)
    what = f"{aim.what}, {transport}" + (f", against {aim.against}" if aim.against else "")
    divisor = 1.0 if aim.against or aim.figure not in FIGURES else FIGURES[aim.figure].divisor
    found = verdict.found.text(divisor) if verdict.found else verdict.why_not
    return [
        what,
        verdict.case,
        found,
        f"{sign} {verdict.text(aim.must)}: {_mark(holds=verdict.must_holds)}",
        f"{sign} {verdict.text(aim.aim)}: {_mark(holds=verdict.aim_holds)}",
        verdict.standing,
    ]


VERDICT_HEAD = ("what", "case", "found, median (range)", "must", "aim", "ranges apart")


def _new_table(title: str, head: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def show(console: Console, one: Sheet) -> None:
    """Print one comparison."""
    table = _new_table(one.title, one.head)
    for line in one.cells:
        style = COLOURS.get(one.transport, "bold") if line[0] == TIDINGS else None
        table.add_row(*line, style=style)
    console.print(table)
    for remark in one.remarks:
        console.print(f"  [yellow]{remark}[/]", highlight=False)


def show_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print the aims."""
    if not verdicts:
        return
    table = _new_table("Aims", VERDICT_HEAD)
    for verdict in verdicts:
        style = {True: None, False: "red", None: "yellow"}[verdict.must_holds]
        table.add_row(*verdict_cells(verdict), style=style)
    console.print(table)


def show_missing(console: Console, missing: Mapping[str, str]) -> None:
    """Say who does not take part, and why."""
    for server, reason in missing.items():
        console.print(f"[yellow]not measured: {server}: {reason[:300]}[/]", highlight=False)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _markdown(head: Sequence[str], cells: Sequence[Sequence[str]], *, numbers: bool = True) -> Iterator[str]:
    yield _line(head)
    yield "|" + "---|" + ("---:|" if numbers else "---|") * (len(head) - 1)
    yield from (_line(line) for line in cells)
    yield ""


def _reach(results: Results) -> list[str]:
    """Return whether generator and publisher have shown that they can take well more than was asked."""
    figure = "deliveries_per_second"
    good = [row for row in results.all_rows if row.good and figure in row.figures]
    bursts = [row.figures[figure] for row in good if row.scenario == "saturation"]
    asked = [row.figures[figure] for row in good if row.scenario != "saturation"]
    if not bursts or not asked:
        return []
    times = max(bursts) / max(asked)
    return [
        f"- the generator took {max(bursts):,.0f} deliveries/s, {times:.1f} times the most asked at a rate"
    ]


def markdown(scenarios: Sequence[Scenario], results: Results, verdicts: Sequence[Verdict]) -> str:
    """Return everything as one page: the runs, the aims, the tables."""
    lines = [
        "# Results",
        "",
        "Medians over the rounds, their range in brackets. Ratios are taken round by round.",
        "",
    ]
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for run in results.used_runs:
        lines.append(f"- {run.began}: `{run.command}` on {machine_line(run.machine)}")
        missing.update(run.missing)
        for server, version in run.versions.items():
            note = run.notes.get(server, "")
            versions[server] = f"{version}{'; ' if version and note else ''}{note}"
    lines += ["", "## Servers", ""]
    lines += _markdown(
        ("server", "version, and what it does less or otherwise"), list(versions.items()), numbers=False
    )
    lines += [
        f"- not measured: {server}: {reason}" for server, reason in missing.items() if server not in versions
    ]
    lines += _reach(results)
    if verdicts:
        lines += [
            "",
            "## Aims",
            "",
            *_markdown(VERDICT_HEAD, [verdict_cells(v) for v in verdicts], numbers=False),
        ]
    for scenario, of_it in sheets(scenarios, results):
        lines += [f"## {scenario.name}: {scenario.asks}", ""]
        for one in of_it:
            lines += [f"### {one.title}", "", *_markdown(one.head, one.cells)]
            lines += [f"- {remark}" for remark in one.remarks]
            lines += [""] if one.remarks else []
    return "\n".join(lines).rstrip() + "\n"
