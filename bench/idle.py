"""What a connection costs that has nothing to do: memory of the server, and with --cpu its heartbeats.

Opens idle WebSockets, event streams and parked long-polls in steps, and takes the slope of the server's
resident memory between 1,000 and the last step. The kernel's memory for sockets is not in it.

usage: python bench/idle.py [--connections 10000] [--transport websocket] [--cpu 30] [--beside]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import compare, load, processes, results, servers
from harness.servers import Server, running
from rich.console import Console

MEMORY_AIM = 4096.0  # bytes of the server's memory for each connection
_FIRST = 1_000  # the slope begins here: what a server sets up once is not counted for any connection
_SETTLE = 2.0
_TRANSPORTS = (servers.LONG_POLLING, servers.SSE, servers.WEBSOCKET)


@dataclass(frozen=True)
class Row:
    """Memory in bytes at each number of connections, resident and proportional; CPU in seconds."""

    server: str
    transport: str
    steps: tuple[int, ...]
    resident: tuple[int, ...]
    proportional: tuple[int, ...]
    resident_slope: float
    proportional_slope: float
    connects_per_second: float
    cpu_per_connection_second: float | None
    void: tuple[str, ...]
    disturbed: bool = False


def measure(server: Server, transport: str, steps: Sequence[int], cpu_seconds: float) -> Row:
    """Open connections step by step, and return what they cost; raises RuntimeError where some fail."""
    resident, proportional = [], []
    opening = 0.0
    with running(server) as here, load.subscribers(here, transport) as subscribers:
        connected = 0
        for step in steps:
            if step > connected:
                opening += subscribers.connect(step - connected)
                connected = step
            time.sleep(_SETTLE)
            used = processes.memory(here.pid)
            resident.append(used[0])
            proportional.append(used[1])
        cpu = None
        if cpu_seconds:
            before = processes.cpu_seconds(here.pid)
            time.sleep(cpu_seconds)
            cpu = (processes.cpu_seconds(here.pid) - before) / cpu_seconds / connected
        report = subscribers.report()
    void = []
    if report.connected != connected:
        void.append(f"{report.connected:,} of {connected:,} connections left at the end")
    if report.errors:
        void.append(f"{report.errors} errors: {report.error}")
    first = steps.index(_FIRST)
    more = steps[-1] - _FIRST
    return Row(
        server=server.name,
        transport=transport,
        steps=tuple(steps),
        resident=tuple(resident),
        proportional=tuple(proportional),
        resident_slope=(resident[-1] - resident[first]) / more,
        proportional_slope=(proportional[-1] - proportional[first]) / more,
        connects_per_second=connected / opening,
        cpu_per_connection_second=cpu,
        void=tuple(void),
    )


def _show(console: Console, rows: Sequence[Row], steps: Sequence[int]) -> None:
    table = results.new_table(
        f"Idle connections: the server's memory, slope from {_FIRST:,} to {steps[-1]:,}"
    )
    table.add_column("transport")
    table.add_column("server")
    for name in (
        "bytes each, resident",
        "proportional",
        *(f"MB at {step:,}" for step in steps),
        "connects/s",
    ):
        table.add_column(name, justify="right")
    if rows[0].cpu_per_connection_second is not None:
        table.add_column("idle CPU each, µs/s", justify="right")
    for row in rows:
        cells = [
            f"[bold]{row.resident_slope:,.0f}",
            f"{row.proportional_slope:,.0f}",
            *(f"{resident / 1e6:.1f}" for resident in row.resident),
            # A parked request has no answer that would tell when it was taken up.
            "-" if row.transport == servers.LONG_POLLING else f"{row.connects_per_second:,.0f}",
        ]
        if row.cpu_per_connection_second is not None:
            cells.append(f"{row.cpu_per_connection_second * 1e6:.2f}")
        table.add_row(row.transport, row.server, *cells)
    console.print(table)
    for row in rows:
        if row.server == servers.TIDINGS.name:
            holds = row.resident_slope <= MEMORY_AIM
            mark = "[green]as aimed[/]" if holds else "[red]not as aimed[/]"
            console.print(
                f"  {row.transport}: [bold]{row.resident_slope:,.0f}[/] bytes each, "
                f"aim <= {MEMORY_AIM:,.0f}: {mark}",
                highlight=False,
            )


def main() -> int:
    """Measure, print, and return 0 where every row holds (whatever the figures are)."""
    parser = argparse.ArgumentParser(description="What an idle connection costs a server.")
    parser.add_argument("--transport", choices=(*_TRANSPORTS, "all"), default="all")
    parser.add_argument(
        "--connections", type=int, default=10_000, help="at most; 19,000 is what one process holds"
    )
    parser.add_argument(
        "--cpu", type=float, default=0.0, metavar="SECONDS", help="watch idle CPU for so long, too"
    )
    parser.add_argument("--beside", action="store_true", help="measure the bare loops, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows")
    options = parser.parse_args()
    if options.connections <= _FIRST:
        parser.error(f"--connections must be more than {_FIRST:,}")
    processes.prepare()
    console = results.new_console()
    steps = sorted({0, _FIRST, options.connections // 2, options.connections})
    transports = _TRANSPORTS if options.transport == "all" else (options.transport,)
    beside = (servers.UVLOOP, servers.c_loop()) if options.beside else ()
    pairs = [
        (transport, server)
        for transport in transports
        for server in (servers.TIDINGS, *beside)
        if transport in server.targets
    ]
    rows = []
    results.print_machine(console)
    with compare.progress(len(pairs)) as step:
        for transport, server in pairs:
            step(f"{transport}: {server.name}")
            rows.append(measure(server, transport, steps, options.cpu))
    _show(console, rows, steps)
    valid = results.print_void(console, rows, ())
    if options.json:
        results.write_json(options.json, vars(options), rows, ())
    return 0 if valid else 1


if __name__ == "__main__":
    sys.exit(main())
