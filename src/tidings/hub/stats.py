"""What is counted: the work that was done, which tests compare instead of times."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counted since the start."""

    published: int = 0
    delivered: int = 0
    writes: int = 0
    renderings: int = 0
    gaps: int = 0
    lives: int = 0
