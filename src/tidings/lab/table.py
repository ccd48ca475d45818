"""The result as a table for a terminal: what was measured, below it what the formula says.

Owns: its shape. Does not own: the figures (result.py), or how one is written (words.py).
"""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tidings.lab import words
from tidings.lab.look import LOOKS
from tidings.lab.result import Outcome, Result
from tidings.lab.sweep import Cell, Sweep


def table(result: Result) -> Group:
    """Return the whole table, with what it is of above and how to read it below."""
    load = result.load
    above = Text(
        f"{load.rate:g} messages a second for {load.seconds:g} s to {load.clients} clients of each; "
        f"polling every {load.interval:g} s, a round trip of {load.rtt * 1000:g} ms\n"
    )
    below = Text(
        "\nBelow each figure what the formula says, and by how much the measured differs. "
        f"{result.published} messages were published, {words.milliseconds(result.late_p99_s)} late "
        f"at most (p99). A publish costs the server {words.number(result.publish_cpu_us)} µs, and being "
        f"there {words.number(result.idle_load * 1000)} ms a second; both are taken off.",
        style="dim",
    )
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("")
    for look in LOOKS.values():
        shown.add_column(Text(f"{look.shape} {look.name}", style=look.on_black), justify="right")
    for row in words.ROWS:
        shown.add_row(row.title, *(_cell(row, result.outcomes[transport]) for transport in LOOKS))
        if any(row.name in outcome.predicted for outcome in result.outcomes.values()):
            shown.add_row("", *(_formula(row, result.outcomes[transport]) for transport in LOOKS))
    return Group(above, shown, below)


def _cell(row: words.Row, outcome: Outcome) -> Text:
    value = getattr(outcome.figures, row.name)
    return Text("-" if value is None else row.write(value), style="bold")


def _formula(row: words.Row, outcome: Outcome) -> Text:
    said = outcome.predicted.get(row.name)
    if said is None:
        return Text("no formula", style="dim")
    off = outcome.deviation[row.name]
    return Text(row.write(said) + ("" if off is None else f" {words.difference(off)}"), style="dim")


def points(swept: Sweep) -> Group:
    """Return the measured points of a sweep: bytes, and reads and writes; the least of each in bold."""
    above = Text("Bytes a message, and reads and writes for it; the least of each is in bold\n")
    below = Text(
        "\nAll of these were measured. --json has the whole map, which the formulas made of them.",
        style="dim",
    )
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("messages a second", justify="right")
    shown.add_column("poll every", justify="right")
    for look in LOOKS.values():
        shown.add_column(Text(f"{look.shape} {look.name}", style=look.on_black), justify="right")
    for cell in swept.points:
        shown.add_row(f"{cell.rate:g}", f"{cell.interval:g} s", *(_both(cell, name) for name in LOOKS))
    return Group(above, shown, below)


def _both(cell: Cell, transport: str) -> Text:
    return Text.assemble(
        (words.size(cell.bytes[transport]), "bold" if cell.fewest_bytes == transport else ""),
        "  ",
        (f"{cell.work[transport]:.2f}", "bold" if cell.least_work == transport else ""),
    )
