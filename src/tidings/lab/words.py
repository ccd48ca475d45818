"""Figures as people read them: a number with the unit that suits it.

Owns: how a figure is written, in tables and pictures alike. Does not own: which figures there are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


def number(value: float) -> str:
    """Return a number with three figures or all before the point: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0:
        return "0"
    size = abs(value)
    digits = 0 if size >= 99.5 else 1 if size >= 9.95 else 2 if size >= 0.995 else 3
    return f"{value:,.{digits}f}"


def milliseconds(seconds: float) -> str:
    """Return a duration."""
    return f"{number(seconds * 1000)} ms"


def size(count: float) -> str:
    """Return bytes, in thousands where they are many."""
    return f"{number(count / 1000)} kB" if count >= 9_999.5 else f"{number(count)} B"


def share(part: float) -> str:
    """Return a share in per cent."""
    return f"{part * 100:.1f} %"


def difference(part: float) -> str:
    """Return by how much something differs, with its sign."""
    return f"{part * 100:+.1f} %".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Row:
    """One figure: its name in `Figures`, its title, and how it is written."""

    name: str
    title: str
    write: Callable[[float], str]


ROWS: Final = (
    Row("requests", "requests", lambda value: f"{value:,.0f}"),
    Row("empty_share", "empty answers", share),
    Row("bytes_up_per_message", "up, a message", size),
    Row("bytes_down_per_message", "down, a message", size),
    Row("delay_mean_s", "delay, mean", milliseconds),
    Row("delay_p50_s", "delay, p50", milliseconds),
    Row("delay_p99_s", "delay, p99", milliseconds),
    Row("server_cpu_us_per_message", "server CPU, a message", lambda value: f"{number(value)} µs"),
    Row("memory_per_client", "server memory, a client", size),
)
