"""What the file holds, as far as deciding needs it: positions, marks of what was lost, keys.

Owns: numbering's state, which messages are too many or too old, and what was lost of each channel.
Does not own: the messages themselves and their keeping (file.py).
Invariant: a message that was numbered is either listed here or at or below its channel's mark. After a failed
write this is thrown away, and read anew from the file.

An index by channel in the file would do as well, but each append would then rewrite one page of
4 KiB for each channel that it touches; eight bytes of memory for each message are cheaper.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice

from tidings.core.history import Retention
from tidings.core.message import Message

_EMPTY = Message("", 0, "", 0, b"").weight
_BYTE = Message("", 0, "", 0, b"x").weight - _EMPTY

Oldest = Sequence[tuple[int, str, int, int]]
"""Position, channel, time in ms and bytes of data of the oldest messages of all channels, oldest first."""


def weight(messages: int, data_bytes: int) -> int:
    """Return what so many messages weigh with so much data (Message.weight)."""
    return messages * _EMPTY + data_bytes * _BYTE


class _Shelf:
    """The kept messages of one channel: their positions above `lost_through`, rising."""

    __slots__ = ("lost_through", "positions")

    def __init__(self, lost_through: int) -> None:
        self.lost_through = lost_through
        self.positions = array("q")


class Kept:
    """What is kept of one life of the log.

    `seen` holds (channel, idempotency key) → (time_ms, position), the oldest first. `dropped_through` is the
    highest position that was ever dropped.
    """

    def __init__(
        self,
        retention: Retention,
        head: int = 0,
        forgotten_through: int = 0,
        marks: Iterable[tuple[str, int]] = (),
    ) -> None:
        self.retention = retention
        self.head = head
        self.time_ms = 0
        self.weight = 0
        self.oldest_ms: int | None = None
        self.seen: dict[tuple[str, str], tuple[int, int]] = {}
        self.forgotten_through = forgotten_through
        self._marks = dict(marks)  # of channels that hold nothing, the longest empty first
        self.dropped_through = max(forgotten_through, *self._marks.values(), 0)
        self._shelves: dict[str, _Shelf] = {}
        self._over: dict[str, None] = {}
        # Dropping one message for each that is appended would touch two more pages with each commit. So
        # a channel may grow by a quarter, and is then cut down to its bound.
        self._most = retention.count + retention.count // 4

    def put(self, channel: str, position: int, time_ms: int) -> None:
        """Count a message that is in the file already; rising positions."""
        shelf = self._shelves.get(channel)
        if shelf is None:
            # No mark was written for a channel that began when nothing had been forgotten.
            shelf = self._shelves[channel] = _Shelf(self._marks.pop(channel, 0))
        self._count(channel, shelf, position, time_ms)

    def add(self, message: Message) -> int:
        """Count a message that is about to be written; return the mark to write with it, or 0."""
        channel = message.channel
        mark = 0
        shelf = self._shelves.get(channel)
        if shelf is None:
            known = self._marks.pop(channel, None)
            if known is None:
                # It may be a channel whose mark was forgotten: it starts from the mark that stands for all
                # of those. Written down, as that mark may rise while this channel's does not.
                mark = self.forgotten_through
            shelf = self._shelves[channel] = _Shelf(mark if known is None else known)
        self._count(channel, shelf, message.position, message.time_ms)
        self.weight += message.weight
        return mark

    def _count(self, channel: str, shelf: _Shelf, position: int, time_ms: int) -> None:
        shelf.positions.append(position)
        if len(shelf.positions) > self._most:
            self._over[channel] = None
        if self.oldest_ms is None:
            self.oldest_ms = time_ms

    def find(self, channels: Iterable[str], after: int, limit: int) -> list[int]:
        """Return the positions of at most `limit` messages of `channels` behind `after`, rising."""
        runs = []
        for channel in dict.fromkeys(channels):
            if (shelf := self._shelves.get(channel)) is not None:
                start = bisect_right(shelf.positions, after)
                runs.append(shelf.positions[start : start + limit])
        return list(islice(merge(*runs), max(0, limit)))

    def lost(self) -> tuple[int, dict[str, int]]:
        """Return what Life takes: up to where messages may be gone, of any channel and of single ones."""
        rest = self.forgotten_through
        marks = {c: s.lost_through for c, s in self._shelves.items() if s.lost_through != rest}
        return rest, {**self._marks, **marks}

    def is_due(self, now_ms: int) -> bool:
        """Say whether there is something to drop. What is too old is gathered for a second."""
        return (
            bool(self._over)
            or self.weight > self.retention.bytes
            or (self.oldest_ms is not None and self.oldest_ms < self._too_old(now_ms) - 1000)
        )

    def _too_old(self, now_ms: int) -> int:
        return now_ms - int(self.retention.age * 1000)

    def too_many(self, budget: int, ceiling: int) -> list[tuple[str, int]]:
        """Return at most `budget` (channel, position) beyond the count, up to position `ceiling`."""
        found: list[tuple[str, int]] = []
        for channel in self._over:
            positions = self._shelves[channel].positions
            excess = min(len(positions) - self.retention.count, budget - len(found))
            found += [(channel, position) for position in positions[:excess] if position <= ceiling]
            if len(found) >= budget:
                break
        return found

    def is_out(self, oldest_ms: int, now_ms: int, weight: int) -> bool:
        """Say whether a message is to go for its age, or as `weight` is kept. A little more goes at once."""
        return oldest_ms < self._too_old(now_ms) or weight > self.retention.bytes * 15 // 16

    def drop(self, gone: Sequence[tuple[str, int]], weight: int) -> tuple[dict[str, int], list[str]]:
        """Lose `gone`, the oldest of their channels; return the marks to write, and those to forget."""
        marks: dict[str, int] = {}
        counts: dict[str, int] = {}
        for channel, position in gone:
            marks[channel] = max(position, marks.get(channel, 0))
            counts[channel] = counts.get(channel, 0) + 1
        self.weight -= weight
        self.dropped_through = max(self.dropped_through, *marks.values())
        for channel, count in counts.items():
            shelf = self._shelves[channel]
            assert shelf.positions[count - 1] == marks[channel], "only the oldest of a channel are dropped"
            del shelf.positions[:count]
            shelf.lost_through = marks[channel]
            if len(shelf.positions) <= self.retention.count:
                self._over.pop(channel, None)
            if not shelf.positions:
                del self._shelves[channel]
                self._marks[channel] = marks[channel]
        forgotten = []
        while len(self._marks) > self.retention.marks:
            # One mark stands for all that are forgotten. A gap may then be told where nothing was missed;
            # never the reverse.
            channel = next(iter(self._marks))
            self.forgotten_through = max(self.forgotten_through, self._marks.pop(channel))
            marks.pop(channel, None)
            forgotten.append(channel)
        return marks, forgotten

    def position_of(self, channel: str, key: str, too_old_ms: int) -> int | None:
        """Return where the message with this idempotency key is, or None when there is none not too old."""
        seen = self.seen.get((channel, key))
        return None if seen is None or seen[0] <= too_old_ms else seen[1]

    def remember(self, channel: str, key: str, time_ms: int, position: int) -> None:
        """Remember an idempotency key; rising positions."""
        self.seen.pop((channel, key), None)  # what is too old may still be there, at its old place
        self.seen[channel, key] = (time_ms, position)

    def forget_keys(self, too_old_ms: int, most: int, budget: int) -> int:
        """Forget at most `budget` keys that are too old or too many; return the last one's position, or 0.

        What is too old is gathered for a second: each time costs a statement.
        """
        through = 0
        gather = 1000
        for _ in range(budget):
            if not self.seen:
                break
            oldest = next(iter(self.seen))
            time_ms, position = self.seen[oldest]
            if len(self.seen) <= most and time_ms > too_old_ms - gather:
                break
            del self.seen[oldest]
            through, gather = position, 0
        return through
