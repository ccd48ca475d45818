"""Where a client stands, and what follows there.

Owns: what a cursor, or a wish like "the last 20", means in this life of the log; which gaps it has.
Does not own: the messages (core/history.py), who is told (hub.py).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tidings.core.history import History, Loss, Slice
from tidings.core.message import Cursor, Gap, GapReason
from tidings.core.patterns import Rules, SlowPolicy
from tidings.core.start import After, Earliest, Now, RewindCount, Start
from tidings.hub.stats import Stats
from tidings.logs.base import Log
from tidings.wire import cursor as cursors

_PACED: Final = 5  # messages that tell how busy a channel is


@dataclass(slots=True)
class Place:
    """Where a client begins: a position, what is lost before it, and what it may already have.

    `cursor` is the text to tell a client that has not yet been told the gaps: asking again with
    it leads to the same place. It is None where the client's own was not a cursor.
    """

    position: int
    cursor: str | None
    floors: dict[str, int] | None = None
    gaps: list[Gap] = field(default_factory=list)


class Places:
    """Finds places in one log, and reads on from them. `position` is how far the log was followed."""

    def __init__(
        self,
        log: Log,
        history: History,
        stats: Stats,
        *,
        clock: Callable[[], float],
        slow: Rules[SlowPolicy],
    ) -> None:
        self.position = 0
        self._stats = stats
        self._log = log
        self._history = history
        self._clock = clock
        self._slow = slow

    def cursor(self, position: int) -> str:
        """Return the text of a position in this life of the log."""
        return cursors.encode(Cursor(self._log.epoch, position))

    def locate(self, channels: tuple[str, ...], start: Start) -> Place:
        """Return where a client begins that asks for `channels` from `start`."""
        if isinstance(start, After):
            return self._after(channels, start)
        if isinstance(start, Now):
            return Place(self.position, self.cursor(self.position))
        if isinstance(start, Earliest):
            position = min(self._history.lost_through(channel) for channel in channels)
        elif isinstance(start, RewindCount):
            position = self._history.before_last(channels, start.count)
        else:
            position = self._history.before_time(channels, int((self._clock() - start.seconds) * 1000))
        # Asked for as much as there is, so what there is no more is no gap.
        return Place(position, self.cursor(position), self._lost(channels, position))

    def _lost(self, channels: Iterable[str], position: int) -> dict[str, int] | None:
        return {c: lost for c in channels if (lost := self._history.lost_through(c)) > position} or None

    def _after(self, channels: tuple[str, ...], start: After) -> Place:
        cursor = start.cursor
        if cursor is not None and cursor.epoch == self._log.epoch and cursor.position <= self._log.head:
            return Place(cursor.position, start.text)
        if cursor is None:
            reason = GapReason.CURSOR
        elif cursor.epoch != self._log.epoch:
            reason = GapReason.EPOCH
        else:
            reason = GapReason.AHEAD
        # All of this life follows a cursor of another life, or one that says nothing. A cursor from
        # the future has all there is.
        position = self.position if reason is GapReason.AHEAD else 0
        gaps = [
            Gap(c, start.text, Cursor(self._log.epoch, max(position, self._history.lost_through(c))), reason)
            for c in channels
        ]
        self._stats.gaps += len(gaps)
        floors = self._lost(channels, position)
        if floors is not None and len(floors) == len(channels):
            position = min(floors.values())
        return Place(position, None if cursor is None else start.text, floors, gaps)

    def read(self, channels: tuple[str, ...], place: Place, limit: int, most_bytes: int) -> Slice:
        """Return what follows `place`; what of it is lost is added to the place's gaps."""
        found = self.follow(channels, place.position, place.floors, limit, most_bytes)
        place.gaps.extend(self.gaps(found.losses))
        return found

    def follow(
        self,
        channels: tuple[str, ...],
        position: int,
        floors: dict[str, int] | None,
        limit: int,
        most_bytes: int,
    ) -> Slice:
        """Return what follows `position` on `channels`, as History.read does, by the channels' policies."""
        newest_only = [c for c in channels if self._slow.of(c) is SlowPolicy.LATEST] if self._slow else ()
        return self._history.read(
            channels, position, limit=limit, most_bytes=most_bytes, floors=floors, newest_only=newest_only
        )

    def gaps(self, losses: Sequence[Loss]) -> list[Gap]:
        """Return what a client is told of `losses`."""
        epoch = self._log.epoch
        self._stats.gaps += len(losses)
        return [
            Gap(loss.channel, self.cursor(loss.after), Cursor(epoch, loss.resumed), GapReason.RETENTION)
            for loss in losses
        ]

    def end_of(self, channels: tuple[str, ...], place: Place, found: Slice) -> int:
        """Return the position to hand to a client that was given `found`.

        With nothing found it is the last message of its channels, wherever the log has gone on
        others, so that all who have everything stand at the same place (spec §5.1).
        """
        if found.messages:
            return found.messages[-1].position
        return place.position if place.position > self.position else self._history.tail(channels)

    def closes_slow(self, channels: tuple[str, ...]) -> bool:
        """Whether a subscriber of `channels` is closed when it is behind, rather than refilled."""
        return any(self._slow.of(channel) is SlowPolicy.CLOSE for channel in channels)

    def pace(self, channels: tuple[str, ...]) -> float:
        """Return the seconds between the last few messages on `channels`, the time since included.

        Infinite where there is none.
        """
        times = self._history.last_times(channels, _PACED)
        return (self._clock() - times[0] / 1000) / len(times) if times else math.inf
