"""Servers in turn, A B A B: what the machine does meanwhile happens to all of them alike.

Owns: rounds, medians with ranges, ratios within a round. Does not own: what one measurement is.
Invariant: a ratio is taken between neighbours in time, never between medians of different hours.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harness.servers import Server


class Named(Protocol):
    """A row says which server it is of, and what voids it."""

    @property
    def server(self) -> str:
        """The server's name."""

    @property
    def void(self) -> tuple[str, ...]:
        """What is wrong with the row; empty where nothing is."""

    @property
    def disturbed(self) -> bool:
        """Whether what voids it is the load's doing, so that measuring again may help."""


RowT = TypeVar("RowT", bound=Named)


@dataclass(frozen=True)
class Spread:
    """A median with its range over the rounds."""

    median: float
    least: float
    most: float

    def text(self, unit: float = 1.0, digits: int = 2) -> str:
        """Return it as "3.41 (3.30-3.58)", divided by `unit`."""
        m, a, b = self.median / unit, self.least / unit, self.most / unit
        return f"{m:,.{digits}f} ({a:,.{digits}f}-{b:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Return median and range of at least one value."""
    return Spread(median(values), min(values), max(values))


def of(rows: Sequence[RowT], server: str, figure: Callable[[RowT], float]) -> Spread:
    """Return a figure of one server over its rounds."""
    return spread([figure(row) for row in rows if row.server == server])


def ratio(rows: Sequence[RowT], over: str, under: str, figure: Callable[[RowT], float]) -> Spread:
    """Return the ratio of a figure between two servers, round by round."""
    tops = [figure(row) for row in rows if row.server == over]
    bottoms = [figure(row) for row in rows if row.server == under]
    return spread([top / bottom for top, bottom in zip(tops, bottoms, strict=True)])


def apart(a: Spread, b: Spread) -> bool:
    """Return whether the ranges do not overlap: only then one of the two has won."""
    return a.most < b.least or b.most < a.least


_AGAIN = 2

Step = Callable[[str], None]


@contextmanager
def progress(steps: int) -> Iterator[Step]:
    """Show a bar of so many steps on standard error; call what is yielded before each with its name."""
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=steps)
        done = -1

        def step(name: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, description=name)

        yield step


def in_turn(
    servers: Sequence[Server], rounds: int, measure: Callable[[Server], RowT], step: Step, what: str
) -> tuple[list[RowT], list[RowT]]:
    """Return one row for each server and round, measured in turn, and the rows that were set aside.

    Only a row that the load itself spoilt is set aside and measured again, twice at most. What a
    server did wrong stays.
    """
    rows, aside = [], []
    for number in range(rounds):
        for server in servers:
            step(f"{what}, round {number + 1}: {server.name}")
            for _ in range(_AGAIN):
                row = measure(server)
                if not row.disturbed:
                    break
                aside.append(row)
            else:
                row = measure(server)
            rows.append(row)
    return rows, aside
