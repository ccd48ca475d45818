"""How much a delivery costs: one channel, many subscribers, small messages.

Measures Tidings beside a bare uvloop write loop and a C send loop, in turn and in one run: the server's
CPU per delivery at a fixed rate, then deliveries per second in bursts, with messages published as fast as
they are accepted.

usage: python bench/fanout.py [--transport websocket] [--subscribers 1000] [--rate 50] [--rounds 5]
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import compare, processes, results, servers
from harness.compare import Spread
from harness.delivery import Case, Row, measure
from rich.console import Console
from rich.table import Table

CPU_AIM = 1.15  # times the bare uvloop loop, at a fixed rate
BURST_AIM = 2.0  # times the C loop that sends one by one
_REFERENCE_RATE = 1.5  # the generator must be able to take this many times a row's rate

_C = servers.c_loop()
_C_JOINED = servers.c_loop(join=8)
_TIDINGS = servers.TIDINGS
_UVLOOP = servers.UVLOOP


def _verdict(console: Console, what: str, found: Spread, aim: str, *, holds: bool) -> None:
    mark = "[green]as aimed[/]" if holds else "[red]not as aimed[/]"
    console.print(f"  {what}: [bold]{found.text()}[/], aim {aim}: {mark}", highlight=False)


def _cpu(row: Row) -> float:
    return row.cpu_per_delivery


def _speed(row: Row) -> float:
    return row.deliveries_per_second


def _table(title: str, rows: Sequence[Row], figures: Sequence[str]) -> Table:
    table = results.new_table(title)
    table.add_column("server")
    for figure in figures:
        table.add_column(figure, justify="right")
    for name in dict.fromkeys(row.server for row in rows):
        of = {
            "CPU per delivery, µs": compare.of(rows, name, _cpu).text(1e-6),
            "x uvloop": _ratio(rows, name, _UVLOOP.name),
            "x C": _ratio(rows, name, _C.name),
            "delay p50, ms": compare.of(rows, name, lambda r: r.delay_p50).text(1e-3),
            "p99, ms": compare.of(rows, name, lambda r: r.delay_p99).text(1e-3),
            "deliveries/s, thousands": compare.of(rows, name, _speed).text(1e3, 0),
            "x C one by one": _ratio(rows, name, _C.name, speed=True),
            "bytes": compare.of(rows, name, lambda r: r.bytes_per_delivery).text(digits=0).split(" ")[0],
            "CPU per publish, µs": compare.of(rows, name, lambda r: r.cpu_per_publish)
            .text(1e-6, 0)
            .split(" ")[0],
            "load: server, generator, host": _loads(rows, name),
        }
        table.add_row(name, *(of[figure] for figure in figures))
    return table


def _loads(rows: Sequence[Row], name: str) -> str:
    """Return how busy server and generator were, and how long the host took the server's core away."""
    loads = (
        compare.of(rows, name, lambda r: r.server_load),
        compare.of(rows, name, lambda r: r.generator_load),
        compare.of(rows, name, lambda r: r.stolen_load),
    )
    return ", ".join(f"{load.median:.0%}" for load in loads)


def _ratio(rows: Sequence[Row], over: str, under: str, *, speed: bool = False) -> str:
    if under not in {row.server for row in rows}:
        return "-"
    return f"{compare.ratio(rows, over, under, _speed if speed else _cpu).median:.2f}"


def _show_rate(console: Console, rows: Sequence[Row], case: Case) -> None:
    title = (
        f"{case.subscribers:,} subscribers by {case.transport}, {case.size}-byte messages, "
        f"{case.rate:g} a second (median and range)"
    )
    figures = (
        "CPU per delivery, µs",
        "x uvloop",
        "x C",
        "delay p50, ms",
        "p99, ms",
        "bytes",
        "CPU per publish, µs",
        "load: server, generator, host",
    )
    console.print(_table(title, rows, figures))
    found = compare.ratio(rows, _TIDINGS.name, _UVLOOP.name, _cpu)
    _verdict(
        console,
        "CPU per delivery, Tidings over the bare uvloop loop",
        found,
        f"<= {CPU_AIM}",
        holds=found.median <= CPU_AIM,
    )


def _show_bursts(console: Console, rows: Sequence[Row], case: Case) -> None:
    title = (
        f"Bursts: {case.subscribers:,} subscribers by {case.transport}, {case.size}-byte messages, published "
        f"on {case.connections} connections with {case.outstanding} unanswered on each (median and range)"
    )
    figures = (
        "deliveries/s, thousands",
        "x C one by one",
        "CPU per delivery, µs",
        "p99, ms",
        "bytes",
        "load: server, generator, host",
    )
    console.print(_table(title, rows, figures))
    found = compare.ratio(rows, _TIDINGS.name, _C.name, _speed)
    _verdict(
        console,
        "Deliveries a second, Tidings over the C loop one by one",
        found,
        f">= {BURST_AIM}",
        holds=found.median >= BURST_AIM,
    )


def _check_generator(console: Console, rated: Sequence[Row], bursts: Sequence[Row]) -> bool:
    """Return whether the generator showed, against the floor, that it can take well more than was asked."""
    if not rated or not bursts:
        return True
    able = max(row.deliveries_per_second for row in bursts)
    asked = max(row.case.rate * row.case.subscribers for row in rated)
    if able >= _REFERENCE_RATE * asked:
        return True
    console.print(
        f"[bold red]void[/] the generator took {able:,.0f} deliveries/s at most, the rows ask {asked:,.0f}"
    )
    return False


def main() -> int:
    """Measure, print, and return 0 where every row holds (whatever the figures are)."""
    parser = argparse.ArgumentParser(description="What a delivery costs, beside bare loops in uvloop and C.")
    parser.add_argument("--transport", choices=("websocket", "sse", "both"), default="both")
    parser.add_argument("--subscribers", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second; 0 leaves this part out")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each rated row is measured")
    parser.add_argument("--burst-seconds", type=float, default=3.0, help="0 leaves bursts out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=100, help="bytes of a message's data")
    parser.add_argument("--connections", type=int, default=8, help="publishing connections in bursts")
    parser.add_argument("--outstanding", type=int, default=8, help="unanswered publishes on each of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows")
    options = parser.parse_args()
    processes.prepare()
    console = results.new_console()
    transports = (servers.WEBSOCKET, servers.SSE) if options.transport == "both" else (options.transport,)
    rated_servers = (_TIDINGS, _UVLOOP, _C) if options.rate else ()
    burst_servers = (_TIDINGS, _C, _C_JOINED) if options.burst_seconds else ()
    rows: list[Row] = []
    aside: list[Row] = []
    valid = True
    results.print_machine(console)
    with compare.progress(
        (len(rated_servers) + len(burst_servers)) * len(transports) * options.rounds
    ) as step:
        for transport in transports:
            case = Case(transport, options.subscribers, options.rate, options.seconds, options.size)
            burst = Case(
                transport,
                options.subscribers,
                rate=0,
                seconds=options.burst_seconds,
                size=options.size,
                connections=options.connections,
                outstanding=options.outstanding,
            )
            at_rate, in_bursts = partial(measure, case=case), partial(measure, case=burst)
            rated, rated_aside = compare.in_turn(
                rated_servers, options.rounds, at_rate, step, f"{transport} at a rate"
            )
            bursts, bursts_aside = compare.in_turn(
                burst_servers, options.rounds, in_bursts, step, f"{transport} bursts"
            )
            if rated:
                _show_rate(console, rated, case)
                valid &= results.print_void(console, rated, rated_aside)
            if bursts:
                _show_bursts(console, bursts, burst)
                valid &= results.print_void(console, bursts, bursts_aside)
            valid &= _check_generator(console, rated, bursts)
            rows += [*rated, *bursts]
            aside += [*rated_aside, *bursts_aside]
    if options.json:
        results.write_json(options.json, vars(options), rows, aside)
    return 0 if valid else 1


if __name__ == "__main__":
    sys.exit(main())
