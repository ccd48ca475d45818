"""Where a client stands, and what follows there.

Owns: what a cursor, or a wish like "the last 20", means in this life of the log; which gaps it has.
Does not own: the messages (core/history.py), who is told (hub.py).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tidings.core.history import History, Loss, Slice
from tidings.core.message import Cursor, Gap, GapReason, Life, Message
from tidings.core.numbering import Floors, Located, Numbering
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
    """Finds places in one life of a log, and reads on from them.

    `position` is how far the log was followed, `epoch` the life that it was followed in.
    """

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
        self.epoch = ""
        self.numbering: Numbering = log.numbering
        self._log = log
        self._stats = stats
        self._history = history
        self._clock = clock
        self._slow = slow

    @property
    def partitioned(self) -> bool:
        """Whether cursors have a position in each of several partitions."""
        return self.numbering.partitioned

    def begin(self, life: Life) -> None:
        """Come into a life of the log, of which nothing has been followed yet."""
        self.epoch = life.epoch
        # Where the newest messages of all are gone, so that none of them follows, it stands behind them.
        self.position = max(life.lost_through, *life.marks.values(), 0)

    def cursor(self, position: int, channels: Sequence[str], floors: Floors = None) -> str:
        """Return the text of a position in this life of the log, for a client of `channels`."""
        return cursors.encode(self.numbering.cursor(self.epoch, position, channels, floors))

    def knows(self, start: Start) -> bool:
        """Whether this node can say what `start` means: a cursor it was not told of may be another node's."""
        cursor = start.cursor if isinstance(start, After) else None
        return cursor is None or (
            self.numbering.is_of(cursor, self.epoch) and self.numbering.is_followed(cursor, self.position)
        )

    def locate(self, channels: tuple[str, ...], start: Start) -> Place:
        """Return where a client begins that asks for `channels` from `start`."""
        if isinstance(start, After):
            return self._after(channels, start)
        if isinstance(start, Now):
            return Place(self.position, self.cursor(self.position, channels))
        if isinstance(start, Earliest):
            position = min(self._history.lost_through(channel) for channel in channels)
        elif isinstance(start, RewindCount):
            position = self._history.before_last(channels, start.count)
        else:
            position = self._history.before_time(channels, int((self._clock() - start.seconds) * 1000))
        # Asked for as much as there is, so what there is no more is no gap.
        return Place(position, self.cursor(position, channels), self._lost(channels, position))

    def _lost(self, channels: Iterable[str], position: int) -> dict[str, int] | None:
        return {c: lost for c in channels if (lost := self._history.lost_through(c)) > position} or None

    def _after(self, channels: tuple[str, ...], start: After) -> Place:
        cursor = start.cursor
        is_ours = cursor is not None and self.numbering.is_of(cursor, self.epoch)
        if cursor is not None and is_ours and self._is_given(cursor):
            return self._behind(start.text, self.numbering.locate(cursor, channels))
        if cursor is None:
            reason = GapReason.CURSOR
        elif not is_ours:
            reason = GapReason.EPOCH
        else:
            reason = GapReason.AHEAD
        # All of this life follows a cursor of another life, or one that says nothing. A cursor from
        # the future has all there is.
        position = self.position if reason is GapReason.AHEAD else 0
        gaps = self._gaps(channels, start.text, position, reason)
        lost = self._lost(channels, position)
        if lost is not None and len(lost) == len(channels):
            position = min(lost.values())
        # With partitions all gaps that come together resume at one place, the earliest: what is gone of
        # single channels behind it is told by itself, as it is met.
        floors = None if self.partitioned else lost
        return Place(position, None if cursor is None else start.text, floors, gaps)

    def _is_given(self, cursor: Cursor) -> bool:
        # The log may be in its next life already, while this node is still in the one before: its head
        # says nothing of this life then.
        return self.numbering.is_followed(cursor, self.position) or (
            self._log.epoch == self.epoch and self.numbering.is_given(cursor, self._log.head)
        )

    def _behind(self, text: str, found: Located) -> Place:
        place = Place(found.position, text, found.floors)
        # What this node's own history lost besides is told when it is read.
        lost = [channel for channel in found.lost if self._history.lost_through(channel) <= found.position]
        if lost:
            place.gaps = self._gaps(lost, text, found.position, GapReason.RETENTION)
        return place

    def _gaps(self, channels: Sequence[str], after: str, position: int, reason: GapReason) -> list[Gap]:
        self._stats.gaps += len(channels)
        resumed = [max(position, self._history.lost_through(channel)) for channel in channels]
        return [
            Gap(channel, after, cursor, reason)
            for channel, cursor in zip(channels, self._resumed(channels, resumed), strict=True)
        ]

    def _resumed(self, channels: Sequence[str], positions: Sequence[int]) -> Iterable[Cursor]:
        """Return where each of `channels` goes on that are told of together.

        With partitions it is one place for all of them: a client takes the smallest, and of places in
        different partitions none is.
        """
        found = [self.numbering.cursor(self.epoch, position, channels) for position in positions]
        if found and found[0].partitions:
            return [self.numbering.cursor(self.epoch, min(positions), channels)] * len(found)
        return found

    def read(self, channels: tuple[str, ...], place: Place, limit: int, most_bytes: int) -> Slice:
        """Return what follows `place`; what of it is lost is added to the place's gaps."""
        found = self.follow(channels, place.position, place.floors, limit, most_bytes)
        place.gaps.extend(self.gaps(found.losses, channels))
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

    def gaps(self, losses: Sequence[Loss], channels: Sequence[str]) -> list[Gap]:
        """Return what a client of `channels` is told of `losses`; none of it moves its cursor."""
        self._stats.gaps += len(losses)
        return [
            Gap(
                loss.channel,
                self.cursor(loss.after, channels),
                self.numbering.cursor(self.epoch, loss.resumed, channels),
                GapReason.RETENTION,
            )
            for loss in losses
        ]

    def told(
        self, messages: Sequence[Message], channels: Sequence[str], floors: Floors = None
    ) -> Sequence[Message]:
        """Return `messages` with the ids that a client of `channels` is told, whose `floors` are these."""
        return self.numbering.told(messages, channels, floors)

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
