"""The sweep as one picture: on the plane of message rate and polling interval, which transport costs least.

Owns: what is drawn. Does not own: the paper (paper.py), what a cell costs (sweep.py).
Invariant: what was measured is marked as such; all else is the formulas', and the picture says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidings.lab import paper, words
from tidings.lab.look import LOOKS, TRANSPORTS
from tidings.lab.sweep import INTERVALS, RATES, Cell, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOSE: Final = 1.1  # times the best's cost: what is below that is as good
_ROOM: Final = 8  # columns that a name is wide
_RATES_NAMED: Final = {1 / 60: "1 a minute", 0.1: "0.1", 1.0: "1 a second", 10.0: "10", 100.0: "100"}
_INTERVALS_NAMED: Final = {0.1: "0.1 s", 0.5: "0.5 s", 1.0: "1 s", 5.0: "5 s", 10.0: "10 s", 30.0: "30 s"}


@dataclass(frozen=True)
class _Plot:
    """One of the two maps: its title, and what a transport costs in a cell."""

    title: str
    costs: Callable[[Cell], dict[str, float]]

    def best(self, cell: Cell) -> str:
        """Return who costs least."""
        costs = self.costs(cell)
        return min(costs, key=costs.__getitem__)

    def close(self, cell: Cell) -> bool:
        """Say whether the best is hardly ahead of the next."""
        best, second, *_ = sorted(self.costs(cell).values())
        return second < CLOSE * best


_PLOTS: Final = (
    _Plot("Fewest bytes a message, heads included", lambda cell: cell.bytes),
    _Plot("Fewest reads and writes of the server", lambda cell: cell.work),
)


def draw(swept: Sweep, file: Path, source: str) -> None:
    """Draw it into `file`."""
    sheet = paper.sheet(10.0, 5.6)
    grid = sheet.add_gridspec(1, 2, left=0.075, right=0.985, top=0.77, bottom=0.235, wspace=0.08)
    for place, plot in enumerate(_PLOTS):
        axes = sheet.add_subplot(grid[place])
        _draw(axes, swept, plot)
        axes.set_title(plot.title, loc="left", fontsize=10.5, color=paper.INK, pad=6)
        axes.set_xlabel("messages a second", fontsize=9.5)
        if place == 0:
            axes.set_ylabel("polling interval: a message waits half of it", fontsize=9.5)
        else:
            axes.set_yticklabels([])
    for at, look in zip(paper.LEGEND, LOOKS.values(), strict=True):
        mark = sheet.add_axes((at - 0.01, 0.085, 0.022, 0.05))
        mark.plot([0], [0], look.marker, color=look.on_paper, markersize=7)
        mark.axis("off")
        sheet.text(
            at + 0.016, 0.11, look.name, fontsize=9.5, color=look.on_paper, fontweight="bold", va="center"
        )
    sheet.text(
        0.985,
        0.105,
        "white: measured, and who was best there;\nall else by the formulas",
        fontsize=9,
        color=paper.QUIET,
        va="center",
        ha="right",
    )
    below = (
        f"Messages of {swept.base.size} bytes, a round trip of {words.milliseconds(swept.base.rtt)}, "
        f"long-polls of {swept.base.wait:g} s, streams that last ten minutes. Pale: less than 10 % ahead"
    )
    paper.write(sheet, file, title=finding(swept), below=below, source=source)


def finding(swept: Sweep) -> str:
    """Return in a sentence what the map says: from how many messages an answer on polling pays."""
    full = [cell.rate * cell.interval for cell in swept.cells if cell.fewest_bytes == "polling"]
    if not full:
        return "Polling never pays here: whoever waits for the message needs fewer bytes"
    return f"A stream needs the fewest bytes, until a poll brings {min(full):.0f} messages or more at once"


def _draw(axes: "Axes", swept: Sweep, plot: _Plot) -> None:
    from matplotlib.colors import to_rgba

    by_place = {(cell.rate, cell.interval): cell for cell in swept.cells}

    def colour(column: int, row: int) -> tuple[float, float, float, float]:
        cell = by_place.get((RATES[column], INTERVALS[row]))
        if cell is None:
            return to_rgba("white")
        return to_rgba(LOOKS[plot.best(cell)].on_paper, 0.5 if plot.close(cell) else 0.92)

    picture = [[colour(column, row) for column in range(len(RATES))] for row in range(len(INTERVALS))]
    axes.pcolormesh(RATES, INTERVALS, picture, shading="nearest", rasterized=True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for transport in TRANSPORTS:
        _name(axes, transport, [cell for cell in swept.cells if plot.best(cell) == transport])
    white: dict[str, Any] = {"color": "white", "markeredgecolor": paper.INK, "markersize": 7.5}
    for cell in swept.points:
        axes.plot([cell.rate], [cell.interval], LOOKS[plot.best(cell)].marker, **white)
    axes.minorticks_off()
    axes.set_xticks(list(_RATES_NAMED), list(_RATES_NAMED.values()), fontsize=8.5)
    axes.set_yticks(list(_INTERVALS_NAMED), list(_INTERVALS_NAMED.values()), fontsize=8.5)
    axes.tick_params(length=3)


def _name(axes: "Axes", transport: str, cells: Sequence[Cell]) -> None:
    """Write the transport's name in the midst of what it wins, where there is room for it."""
    rates = sorted({cell.rate for cell in cells})
    if len(rates) < _ROOM:
        return
    # The rate with the tallest column of its own, and of several such the middle one.
    columns = {rate: sorted(cell.interval for cell in cells if cell.rate == rate) for rate in rates}
    tallest = max(len(column) for column in columns.values())
    tall = [rate for rate in rates[_ROOM // 2 : -_ROOM // 2] if len(columns[rate]) >= tallest * 0.6]
    middle = tall[len(tall) // 2] if tall else rates[len(rates) // 2]
    column = columns[middle]
    axes.text(
        middle,
        column[len(column) // 2],
        LOOKS[transport].name,
        ha="center",
        va="center",
        fontsize=11,
        fontweight="bold",
        color=paper.INK if transport == "polling" else "white",
    )
