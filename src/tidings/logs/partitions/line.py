"""One node's line: the messages of several partitions, one behind the other as they came.

Owns: which position on the line is which position of which partition, both ways. Pure.
Invariant: along the line each partition's positions rise. What is forgotten is forgotten from the oldest on,
and `known_from` says from where on a partition's positions are still known.
"""

from bisect import bisect_right
from typing import Final

_MOST_RUNS: Final = 100_000  # a partition; with a run for every message about 10 MB


class _Runs:
    """One partition's stretches of the line in which both numbers rise together by one."""

    __slots__ = ("known_from", "lengths", "on_line", "positions")

    def __init__(self, known_from: int) -> None:
        self.known_from = known_from
        self.on_line: list[int] = []
        self.positions: list[int] = []
        self.lengths: list[int] = []


class Line:
    """The line over `count` partitions, from position 1 on."""

    def __init__(self, count: int) -> None:
        self.begin([0] * count)

    def begin(self, lost_through: list[int], followed: list[int] | None = None) -> None:
        """Begin anew: of each partition, what is gone and up to where it is followed already."""
        self.end = 0
        self.followed = list(followed or lost_through)
        self._runs = [_Runs(lost) for lost in lost_through]

    def add(self, partition: int, position: int) -> int:
        """Put the partition's next message at the end of the line; return where that is."""
        self.end += 1
        self.followed[partition] = max(position, self.followed[partition])
        runs = self._runs[partition]
        if runs.lengths:
            length = runs.lengths[-1]
            if runs.on_line[-1] + length == self.end and runs.positions[-1] + length == position:
                runs.lengths[-1] = length + 1
                return self.end
        runs.on_line.append(self.end)
        runs.positions.append(position)
        runs.lengths.append(1)
        if len(runs.lengths) > _MOST_RUNS:
            self._forget(runs)
        return self.end

    def _forget(self, runs: _Runs) -> None:
        """Forget the older half: who comes from there is told a gap, though perhaps nothing was missed."""
        half = len(runs.lengths) // 2
        runs.known_from = runs.positions[half - 1] + runs.lengths[half - 1] - 1
        for column in (runs.on_line, runs.positions, runs.lengths):
            del column[:half]

    def known_from(self, partition: int) -> int:
        """Return the position from which on the partition's positions are known."""
        return self._runs[partition].known_from

    def find(self, partition: int, position: int) -> int:
        """Return where on the line who has the partition up to `position` stands."""
        runs = self._runs[partition]
        run = bisect_right(runs.positions, position) - 1
        if run < 0:
            # Before the first that is known, which is perhaps not the first of the line.
            return runs.on_line[0] - 1 if runs.on_line else 0
        return runs.on_line[run] + min(position - runs.positions[run], runs.lengths[run] - 1)

    def position_in(self, partition: int, on_line: int) -> int:
        """Return up to where who has the line up to `on_line` has the partition."""
        runs = self._runs[partition]
        run = bisect_right(runs.on_line, on_line) - 1
        if run < 0:
            return runs.known_from
        return runs.positions[run] + min(on_line - runs.on_line[run], runs.lengths[run] - 1)
