"""Bars with matplotlib, in the project's look: a group for each transport, in its colour, under its name.

Owns: how a picture looks, as SVG and PNG. Does not own: what is drawn, or its words (plots.py).
Invariant: axes begin at zero, and all groups of a picture share one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.compare import Spread
from harness.figures import Figure
from harness.tables import COLOURS, NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _QUIET, _GRID, _EDGE = "#1d2329", "#5a636c", "#e4e8eb", "#c4cad0"
_FONTS = ["Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"]
_WIDE = 9.0  # all lengths are inches
_BAR = 0.34
_GROUP = 0.42
_TOP, _BOTTOM = 1.02, 0.95
_PALE = 0.68  # of white in the colour of those who are not ours


@dataclass(frozen=True)
class Bar:
    """One bar: its label, a figure with its range, and whether it is ours."""

    label: str
    found: Spread
    ours: bool


@dataclass(frozen=True)
class Picture:
    """A whole plot. `groups` are the bars of each transport, first to last from top to bottom."""

    name: str
    title: str
    below: str
    source: str
    figure: Figure
    groups: Sequence[tuple[str, Sequence[Bar]]]


def _pale(colour: str) -> str:
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * _PALE):02x}" for part in parts)


def _draw_group(axes: "Axes", figure: Figure, transport: str, bars: Sequence[Bar], most: float) -> None:
    colour = COLOURS[transport]
    for y, bar in enumerate(bars):
        found = bar.found
        middle, least, last = (value / figure.divisor for value in (found.median, found.least, found.most))
        weight = "bold" if bar.ours else "normal"
        axes.barh(y, middle, height=0.62, color=colour if bar.ours else _pale(colour), linewidth=0)
        if found.rounds > 1:
            axes.plot([least, last], [y, y], color=_INK, linewidth=1.2, solid_capstyle="butt")
        value = f"{middle:,.{figure.digits}f}"
        axes.text(max(last, middle) + most * 0.012, y, value, va="center", fontsize=9, fontweight=weight)
        label = axes.text(-0.012, y, bar.label, ha="right", va="center", fontsize=9.5, fontweight=weight)
        label.set_transform(axes.get_yaxis_transform())
    axes.set_xlim(0, most * 1.1)
    axes.set_ylim(len(bars) - 0.45, -0.55)
    axes.set_yticks([])
    axes.set_title(NAMES[transport], loc="left", fontsize=10.5, color=colour, fontweight="bold", pad=4)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_EDGE)
    axes.tick_params(axis="x", length=0, labelsize=8.5)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def draw(picture: Picture, folder: Path) -> list[Path]:
    """Draw it as SVG and PNG, and return the files.

    Raises RuntimeError where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure as Sheet
    except ImportError:
        raise RuntimeError("plots need matplotlib: pip install 'tidings[bench]'") from None
    mpl.rcParams.update(
        {
            "font.family": "sans-serif",
            "font.sans-serif": _FONTS,
            "svg.hashsalt": "tidings",
            "text.color": _INK,
            "axes.labelcolor": _QUIET,
            "xtick.color": _QUIET,
        }
    )
    counts = [len(bars) for _, bars in picture.groups]
    inside = _BAR * sum(counts)
    tall = inside + _GROUP * (len(counts) - 1) + _TOP + _BOTTOM
    sheet = Sheet(figsize=(_WIDE, tall), facecolor="white")
    grid = sheet.add_gridspec(
        len(counts),
        1,
        height_ratios=counts,
        left=0.26,
        right=0.93,
        top=1 - _TOP / tall,
        bottom=_BOTTOM / tall,
        hspace=_GROUP / (inside / len(counts)),
    )
    most = max(bar.found.most for _, bars in picture.groups for bar in bars) / picture.figure.divisor
    for place, (transport, bars) in enumerate(picture.groups):
        axes = sheet.add_subplot(grid[place])
        _draw_group(axes, picture.figure, transport, bars, most)
        if place == len(counts) - 1:
            axes.set_xlabel(picture.figure.head, fontsize=9.5)
        else:
            axes.tick_params(axis="x", labelbottom=False)
    for text, at, size, colour, weight in (
        (picture.title, tall - 0.32, 13.5, _INK, "bold"),
        (picture.below, tall - 0.58, 10.0, _QUIET, "normal"),
        (picture.source, 0.27, 7.5, _QUIET, "normal"),
    ):
        sheet.text(0.03, at / tall, text, fontsize=size, color=colour, fontweight=weight, va="center")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{picture.name}.svg", folder / f"{picture.name}.png"]
    sheet.savefig(files[0], metadata={"Date": None})
    sheet.savefig(files[1], dpi=160)
    return files
