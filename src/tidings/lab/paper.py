"""The paper that pictures are drawn on: matplotlib, where it is installed, in the project's look.

Owns: fonts, ink, title and source line, and the file. Does not own: what is drawn (bars.py, plane.py).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidings.lab.load import LoadError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#1d2329"
QUIET: Final = "#5a636c"
EDGE: Final = "#c4cad0"
LEGEND: Final = (0.035, 0.135, 0.265, 0.435)  # where each transport's name begins
KINDS: Final = (".png", ".svg")
_FONTS: Final = ["Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"]


def check(file: Path) -> None:
    """Raise LoadError where a picture cannot be drawn there, before an hour is spent on measuring."""
    if file.suffix not in KINDS:
        raise LoadError(f"A picture is a .png or an .svg, not {file.name!r}.")
    if not file.parent.is_dir():
        raise LoadError(f"There is no folder {file.parent} for the picture.")
    try:
        import matplotlib as _mpl  # noqa: F401, ICN001 - only whether it is there
    except ImportError:
        raise LoadError(
            "Pictures need matplotlib, which is not installed: pip install 'tidings[bench]'"
        ) from None


def sheet(wide: float, tall: float) -> "Figure":
    """Return an empty sheet, in inches."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {
            "font.family": "sans-serif",
            "font.sans-serif": _FONTS,
            "svg.hashsalt": "tidings",
            "text.color": INK,
            "axes.labelcolor": QUIET,
            "axes.edgecolor": EDGE,
            "xtick.color": QUIET,
            "ytick.color": QUIET,
        }
    )
    return Figure(figsize=(wide, tall), facecolor="white")


def write(figure: "Figure", file: Path, *, title: str, below: str, source: str) -> None:
    """Put title, explanation and source on the sheet, and write the file."""
    tall = figure.get_size_inches()[1]
    for text, at, size, colour, weight in (
        (title, tall - 0.32, 13.5, INK, "bold"),
        (below, tall - 0.60, 10.0, QUIET, "normal"),
        (source, 0.2, 7.5, QUIET, "normal"),
    ):
        figure.text(0.025, at / tall, text, fontsize=size, color=colour, fontweight=weight, va="center")
    # No date in it: the same figures give the same file.
    figure.savefig(file, dpi=160, metadata={"Date": None} if file.suffix == ".svg" else None)
