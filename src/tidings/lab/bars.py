"""The result as a picture: four plots, a bar for each transport, what the formula says as a line across.

Owns: what is drawn. Does not own: the paper (paper.py), the figures (result.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidings.lab import paper, words
from tidings.lab.look import LOOKS
from tidings.lab.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class _Plot:
    """A small plot: its title with the unit, a figure's height, and its worst case, where there is one."""

    title: str
    height: Callable[[Mapping[str, float]], float]
    worst: Callable[[Mapping[str, float]], float] | None = None
    formula: bool = True


_PLOTS: Final = (
    _Plot("Requests a message", lambda of: of["requests_per_message"]),
    _Plot(
        "Bytes a message, up and down", lambda of: of["bytes_up_per_message"] + of["bytes_down_per_message"]
    ),
    _Plot(
        "Delay, ms: mean, p99 above",
        lambda of: of["delay_mean_s"] * 1e3,
        lambda of: of["delay_p99_s"] * 1e3,
    ),
    _Plot("Server CPU a message, µs", lambda of: of["server_cpu_us_per_message"], formula=False),
)


def draw(result: Result, file: Path, source: str) -> None:
    """Draw it into `file`."""
    sheet = paper.sheet(10.0, 4.4)
    grid = sheet.add_gridspec(1, len(_PLOTS), left=0.03, right=0.985, top=0.72, bottom=0.19, wspace=0.14)
    measured = {transport: _measured(result, transport) for transport in LOOKS}
    said = {transport: _said(result, transport) for transport in LOOKS}
    for place, plot in enumerate(_PLOTS):
        _draw(sheet.add_subplot(grid[place]), plot, measured, said)
    for at, look in zip(paper.LEGEND, LOOKS.values(), strict=True):
        sheet.text(
            at + 0.016, 0.105, look.name, fontsize=9.5, color=look.on_paper, fontweight="bold", va="center"
        )
        mark = sheet.add_axes((at - 0.01, 0.075, 0.022, 0.06))
        mark.plot([0], [0], look.marker, color=look.on_paper, markersize=6)
        mark.axis("off")
    sheet.text(
        0.975,
        0.105,
        "a line across: what the formula says",
        fontsize=9,
        color=paper.QUIET,
        va="center",
        ha="right",
    )
    load = result.load
    below = (
        f"{load.rate:g} messages a second, {load.size} bytes each, to {load.clients} clients of each; "
        f"polling every {words.milliseconds(load.interval)}, a round trip of {words.milliseconds(load.rtt)}"
    )
    paper.write(sheet, file, title=finding(result), below=below, source=source)


def finding(result: Result) -> str:
    """Return in a sentence what the figures say: polling beside a WebSocket."""
    polling, socket = _measured(result, "polling"), _measured(result, "websocket")
    most = _PLOTS[1].height(polling) / _PLOTS[1].height(socket)
    later = polling["delay_mean_s"] / socket["delay_mean_s"]
    empty = result.outcomes["polling"].figures.empty_share
    return (
        f"Polling finds nothing {empty:.0%} of the time, costs {most:.1f} times a WebSocket's bytes and is "
        f"{later:.1f} times as late"
    ).replace("%", " %")


def _measured(result: Result, transport: str) -> dict[str, float]:
    found = result.outcomes[transport].figures
    figures = {row.name: float(getattr(found, row.name) or 0.0) for row in words.ROWS}
    return {**figures, "requests_per_message": found.requests / max(1, found.delivered)}


def _said(result: Result, transport: str) -> dict[str, float]:
    """Return what the formulas say; what they do not is not a number."""
    said = {name: value for name, value in result.outcomes[transport].predicted.items() if value is not None}
    messages = result.load.messages * result.load.clients
    return {"delay_p99_s": float("nan"), **said, "requests_per_message": said["requests"] / messages}


def _draw(
    axes: "Axes",
    plot: _Plot,
    measured: Mapping[str, Mapping[str, float]],
    said: Mapping[str, Mapping[str, float]],
) -> None:
    tops = [
        max(plot.height(figures), plot.worst(figures) if plot.worst else 0.0) for figures in measured.values()
    ]
    most = max(tops) or 1.0
    for x, (transport, look) in enumerate(LOOKS.items()):
        height = plot.height(measured[transport])
        axes.bar(x, height, width=0.62, color=look.on_paper, linewidth=0)
        if plot.formula:
            line = plot.height(said[transport])
            axes.plot([x - 0.42, x + 0.42], [line, line], color=paper.INK, linewidth=1.4)
        top = height
        if plot.worst is not None:
            top = plot.worst(measured[transport])
            axes.plot([x, x], [height, top], color=look.on_paper, linewidth=2)
            axes.plot([x - 0.1, x + 0.1], [top, top], color=look.on_paper, linewidth=2)
            # The mean stands in its bar, for what stands above is the p99.
            ink = paper.INK if transport == "polling" else "white"
            mean = words.number(height)
            axes.text(x, height - most * 0.03, mean, ha="center", va="top", fontsize=8.5, color=ink)
        above = words.number(top)
        colour = paper.INK if plot.worst is None else paper.QUIET
        axes.text(x, top + most * 0.025, above, ha="center", va="bottom", fontsize=9, color=colour)
        axes.plot([x], [-most * 0.07], look.marker, color=look.on_paper, markersize=5, clip_on=False)
    axes.set_xlim(-0.6, len(LOOKS) - 0.4)
    axes.set_ylim(0, most * 1.16)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(plot.title, loc="left", fontsize=10, color=paper.INK, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
