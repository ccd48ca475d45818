"""The benchmark: Tidings beside bare loops and the servers that one would take instead.

Owns: the command line, the order of things, the progress bar. Does not own: what is measured (scenarios/),
and how (harness/). Whatever fails stands in the results with its reason; they are written after every
comparison.

usage: python bench/run.py [SCENARIO…] [--full] [--rounds N] [--servers NAME,…] [--plots FILE]
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness import compare, plots, processes, results, servers, standing, tables, verdicts
from harness.compare import Comparison, Step
from harness.results import Results, Run
from harness.scenario import Options, Scenario
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from scenarios import (
    connects,
    delay,
    echo,
    engines,
    fanout,
    following,
    idle,
    mixed,
    polling,
    publishing,
    saturation,
    stalled,
    storm,
    workers,
)

RESULTS = Path(__file__).resolve().parent / "results"
# The order of the story; the short version runs those that have something short.
SCENARIOS: tuple[Scenario, ...] = tuple(
    module.SCENARIO
    for module in (
        fanout,
        saturation,
        delay,
        mixed,
        idle,
        storm,
        stalled,
        polling,
        echo,
        publishing,
        engines,
        following,
        workers,
        connects,
    )
)
_SHORT = ("fanout", "saturation", "idle", "storm", "polling")


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser = argparse.ArgumentParser(
        description=f"What Tidings costs, beside other servers. Scenarios: {names}.",
        epilog="Wants two cores, gcc, and nothing else running. Without --full it takes under ten minutes.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which; all where none is named")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--full", action="store_true", help="every scenario, size and server, 5 rounds")
    length.add_argument("--short", action="store_true", help="the main table (the default)")
    parser.add_argument("--rounds", type=int, help="rounds of every comparison")
    parser.add_argument(
        "--servers", default="", metavar="NAME,…", help="only servers whose names contain one of these"
    )
    parser.add_argument(
        "--transports", default="", metavar="NAME,…", help="only these, such as websocket,sse"
    )
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="TEXT",
        help="only cases with this in them; several times",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="where results go")
    parser.add_argument(
        "--add", action="store_true", help="keep what an earlier run measured of other comparisons"
    )
    parser.add_argument("--plan", action="store_true", help="say what would run, and how long, and stop")
    parser.add_argument(
        "--plots", type=Path, metavar="RESULTS.JSON", help="only draw tables and plots of it again"
    )
    options = parser.parse_args(argv)
    known = [scenario.name for scenario in SCENARIOS]
    for name in options.scenarios:
        if name not in known:
            parser.error(f"there is no scenario {name!r}; there are {', '.join(known)}")
    return options


@contextmanager
def _bar(seconds: float) -> Iterator[Step]:
    """Show what is running and the time left, learned from how long rows have taken so far."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[left]:>9}"),
        BarColumn(bar_width=30),
        TextColumn("{task.description}"),
    )
    began = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=seconds, left="")
        done = coming = 0.0

        def step(name: str, about: float) -> None:
            nonlocal done, coming
            done, coming = done + coming, about
            pace = (time.monotonic() - began) / done if done else 1.0
            left = int((seconds - done) * pace)
            bar.update(task, completed=done, description=name, left=f"{left // 60}:{left % 60:02} left")

        yield step


def _planned(chosen: Sequence[Scenario], asked: Options) -> list[Comparison]:
    return [
        comparison
        for scenario in chosen
        for comparison in scenario.comparisons(asked)
        if comparison.servers
        and (not asked.transports or comparison.transport in asked.transports)
        and (not asked.cases or any(case in comparison.case for case in asked.cases))
    ]


def _seconds(planned: Sequence[Comparison]) -> float:
    return sum(one.seconds * one.rounds * len(one.servers) for one in planned)


def _say_plan(console: Console, planned: Sequence[Comparison]) -> None:
    for one in planned:
        seconds = _seconds([one])
        console.print(
            f"{seconds / 60:6.1f} min  {one.scenario}: {one.case}, {one.transport}, {one.rounds} rounds of "
            f"{', '.join(server.name for server in one.servers)}",
            highlight=False,
        )
    console.print(f"{_seconds(planned) / 60:6.1f} min  together", style="bold", highlight=False)


def _write(found: Results, folder: Path) -> list[verdicts.Verdict]:
    judged = verdicts.judge(SCENARIOS, found.all_rows)
    found.write(folder / "results.json", [verdict.plain() for verdict in judged])
    (folder / "results.md").write_text(tables.markdown(SCENARIOS, found, judged))
    return judged


def _draw(console: Console, found: Results, folder: Path) -> None:
    try:
        made = plots.draw(SCENARIOS, found, folder)
    except RuntimeError as error:
        console.print(f"[yellow]no plots: {error}[/]")
    else:
        console.print(f"{len(made)} plots and results.md in {folder}", style="dim", highlight=False)


def _measure(
    planned: Sequence[Comparison], run: Run, found: Results, folder: Path, tell: Callable[[Comparison], None]
) -> None:
    with _bar(_seconds(planned)) as step:
        for comparison in planned:
            key = (comparison.scenario, comparison.case, comparison.transport)
            found.begin(key, run)
            found.aside[key] = compare.in_turn(comparison, step, found.rows[key].append)
            _write(found, folder)
            tell(comparison)


def main(argv: Sequence[str]) -> int:
    """Measure, print, write; return 0 where no row is void (whatever the figures are)."""
    options = _arguments(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    if options.plots:
        found = results.read(options.plots)
        tables.show_verdicts(console, _write(found, options.plots.parent))
        _draw(console, found, options.plots.parent)
        return 0
    processes.prepare()
    here = results.machine()
    console.print(results.machine_line(here), style="dim", highlight=False)
    if here["server_core"] == here["load_core"]:
        console.print("[bold red]Only one core: server and load disturb each other, nothing here holds.")
    names = options.scenarios or ([] if options.full else _SHORT)
    chosen = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
    table, missing = standing.table()
    wanted = standing.chosen(table, options.servers.split(",") if options.servers else ())
    transports = tuple(options.transports.split(",")) if options.transports else ()

    def asked(taking_part: Sequence[servers.Server]) -> Options:
        full = options.full or bool(options.scenarios and not options.short)
        return Options(full, taking_part, options.rounds, transports, options.case)

    planned = _planned(chosen, asked(wanted))
    if options.plan:
        _say_plan(console, planned)
        return 0
    needed = {server.name for comparison in planned for server in comparison.servers}
    servers.tidings_epoch()
    with console.status("") as status:
        able, unready = standing.ready(
            [s for s in wanted if s.name in needed or not s.targets], status.update
        )
    missing |= unready
    tables.show_missing(console, missing)
    planned = _planned(chosen, asked(able))
    run = Run(
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(("python", "bench/run.py", *argv)),
        machine=here,
        versions=standing.versions(able),
        notes={server.name: server.note for server in able if server.note},
        missing=missing,
    )
    file = options.out / "results.json"
    found = results.read(file) if options.add and file.exists() else Results()
    scenarios = {scenario.name: scenario for scenario in chosen}

    def tell(comparison: Comparison) -> None:
        key = (comparison.scenario, comparison.case, comparison.transport)
        tables.show(console, tables.sheet(scenarios[comparison.scenario], found.rows[key], found.aside[key]))

    try:
        _measure(planned, run, found, options.out, tell)
    except KeyboardInterrupt:
        console.print("[yellow]stopped; what was measured until here is kept[/]")
    tables.show_verdicts(console, _write(found, options.out))
    _draw(console, found, options.out)
    return 1 if any(row.void for row in found.all_rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
