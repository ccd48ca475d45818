"""The windows of all channels, and what follows a position on several of them.

Owns: retention (count a channel, age, bytes of all together) and the merge by position.
Does not own: waiting and clients (hub.py), numbering and durability (logs/).
Invariant: for every channel, also one that was forgotten, `lost_through` is never below what it lost.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace, merge
from itertools import islice
from operator import attrgetter

from tidings.core import limits
from tidings.core.message import Message
from tidings.core.window import Window

_position = attrgetter("position")


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: messages a channel, seconds, and bytes of all channels; whichever comes first."""

    count: int = limits.HISTORY_COUNT
    age: float = limits.HISTORY_AGE
    bytes: int = limits.HISTORY_BYTES
    marks: int = limits.LOST_MARKS


@dataclass(frozen=True, slots=True)
class Loss:
    """Messages of `channel` behind `after` up to `resumed` have left the window."""

    channel: str
    after: int
    resumed: int


@dataclass(slots=True)
class Slice:
    """What follows a position: messages in order, what was lost, and whether there is more.

    Empty `messages` with `more` never happens: a slice holds at least one message if there is one.
    """

    messages: list[Message] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    more: bool = False


class History:
    """The newest messages of all channels of one log, bounded.

    `partition` says which part of the log a channel is in, where it has parts that are lost apart.
    """

    def __init__(
        self, retention: Retention | None = None, partition: Callable[[str], int] = lambda _channel: 0
    ) -> None:
        self.retention = retention or Retention()
        self._partition = partition
        self.weight = 0
        self._windows: dict[str, Window] = {}
        # (position of the oldest message at some time, channel), one entry for each window that is not
        # empty. The first entry may be stale, but is never above the truth, so the root is the oldest.
        self._oldest: list[tuple[int, str]] = []
        # Channels that are idle and empty are forgotten, but not what they lost.
        self._marks: dict[str, int] = {}
        self._forgotten_through = 0
        # Up to where all channels of a partition lost what they had.
        self._holes: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(len(window) for window in self._windows.values())

    @property
    def channels(self) -> int:
        """Channels that hold at least one message."""
        return len(self._windows)

    def append(self, message: Message) -> None:
        """Keep `message`, whose position is above all that came before on any channel."""
        channel = message.channel
        window = self._windows.get(channel)
        if window is None:
            # A channel whose mark was dropped starts from the mark that stands for all of those.
            window = self._windows[channel] = Window(self.lost_through(channel))
            self._marks.pop(channel, None)
            heappush(self._oldest, (message.position, channel))
        window.append(message)
        self.weight += message.weight
        if len(window) > self.retention.count:
            self.weight -= window.drop_oldest().weight
        if self.weight > self.retention.bytes:
            self._drop(older_than_ms=0)

    def trim(self, now_ms: int) -> None:
        """Drop what is older than the retention's age."""
        self._drop(older_than_ms=now_ms - int(self.retention.age * 1000))

    def _drop(self, older_than_ms: int) -> None:
        heap = self._oldest
        while heap:
            position, channel = heap[0]
            window = self._windows[channel]
            oldest = window.oldest
            if oldest.position != position:
                heapreplace(heap, (oldest.position, channel))
            elif oldest.time_ms < older_than_ms or self.weight > self.retention.bytes:
                self.weight -= window.drop_oldest().weight
                if len(window):
                    heapreplace(heap, (window.oldest.position, channel))
                else:
                    heappop(heap)
                    self._forget(channel)
            else:
                return

    def _forget(self, channel: str) -> None:
        self._marks[channel] = self._windows.pop(channel).lost_through
        if len(self._marks) > self.retention.marks:
            # One mark stands for all that were dropped. A gap may then be told where nothing was
            # missed; never the reverse.
            mark = self._marks.pop(next(iter(self._marks)))
            self._forgotten_through = max(self._forgotten_through, mark)

    def lost_through(self, channel: str) -> int:
        """Return the position up to which messages of `channel` may be gone; 0 when none is."""
        window = self._windows.get(channel)
        if window is not None:
            return window.lost_through
        mark = self._marks.get(channel, self._forgotten_through)
        return max(mark, self._holes.get(self._partition(channel), 0)) if self._holes else mark

    def lost(self) -> tuple[int, dict[str, int]]:
        """Return what `begin` takes: up to where messages may be gone, of any channel and of single ones."""
        lost = {channel: window.lost_through for channel, window in self._windows.items()}
        return max(self._forgotten_through, *self._holes.values(), 0), {**self._marks, **lost}

    def begin(self, lost_through: int = 0, marks: Mapping[str, int] | None = None) -> None:
        """Forget everything, and begin with what was lost before: on any channel, and on single ones."""
        self.weight = 0
        self._windows.clear()
        self._oldest.clear()
        self._marks = dict(marks or {})
        self._forgotten_through = lost_through
        self._holes.clear()

    def lose(self, through: int, partition: int = 0) -> None:
        """Lose what is kept of a partition, and count messages of its channels up to `through` as lost."""
        lost = [channel for channel in self._windows if self._partition(channel) == partition]
        for channel in lost:
            window = self._windows.pop(channel)
            self.weight -= sum(message.weight for message in window.last_ones(len(window)))
            through = max(through, window.last)
        self._oldest = [(position, channel) for position, channel in self._oldest if channel in self._windows]
        heapify(self._oldest)
        self._holes[partition] = max(through, self._holes.get(partition, 0))

    def tail(self, channels: Iterable[str]) -> int:
        """Return the position of the last message on `channels` that is known, 0 when there is none.

        Everyone who has all of these channels stands here, however far the log has gone on
        other channels: so all of them ask the same question and share its answer.
        """
        windows = self._windows
        return max(
            window.last if (window := windows.get(channel)) is not None else self.lost_through(channel)
            for channel in channels
        )

    def read(
        self,
        channels: Iterable[str],
        after: int,
        *,
        limit: int,
        most_bytes: int,
        floors: Mapping[str, int] | None = None,
        newest_only: Container[str] = (),
    ) -> Slice:
        """Return what follows position `after` on `channels`: at most `limit` messages, `most_bytes` of data.

        `floors` holds channels whose reader has more than the others' `after`: nothing at or
        below its floor is returned, or counted as lost, for such a channel. Of the channels in
        `newest_only` only the newest message per key is returned.
        """
        result = Slice()
        runs: list[list[Message]] = []
        for channel in channels:
            start = after if floors is None else max(after, floors.get(channel, 0))
            window = self._windows.get(channel)
            lost_through = self.lost_through(channel) if window is None else window.lost_through
            if lost_through > start:
                result.losses.append(Loss(channel, start, lost_through))
            if window is None:
                continue
            if channel in newest_only:
                # Before the limit: what is cut off must not make an old value look like the newest.
                newest = {m.key: m for m in window.after(start, len(window))}
                run = sorted(newest.values(), key=_position)
            else:
                run = window.after(start, limit + 1)
            if run:
                runs.append(run)
        if not runs:
            return result
        ordered: Iterator[Message] = iter(runs[0]) if len(runs) == 1 else merge(*runs, key=_position)
        room = most_bytes
        for message in islice(ordered, limit + 1):
            room -= len(message.data)
            if result.messages and (room < 0 or len(result.messages) == limit):
                result.more = True
                break
            result.messages.append(message)
        return result

    def all_after(self, position: int) -> list[Message]:
        """Return every message behind `position` on all channels, oldest first."""
        return list(merge(*(w.after(position, len(w)) for w in self._windows.values()), key=_position))

    def last_times(self, channels: Iterable[str], count: int) -> list[int]:
        """Return the times of the last `count` messages on `channels` together, in ms, oldest first."""
        windows = [self._windows[c] for c in channels if c in self._windows]
        return sorted(m.time_ms for window in windows for m in window.last_ones(count))[-count:]

    def before_last(self, channels: Iterable[str], count: int) -> int:
        """Return the position before the last `count` messages on `channels` together."""
        if count == 0:
            return self.tail(channels)
        last = sorted(
            m.position for c in channels if c in self._windows for m in self._windows[c].last_ones(count)
        )
        return last[-count] - 1 if len(last) >= count else (last[0] - 1 if last else self.tail(channels))

    def before_time(self, channels: Iterable[str], time_ms: int) -> int:
        """Return the position before the first message on `channels` that is not older than `time_ms`."""
        firsts = [
            run[0].position
            for c in channels
            if c in self._windows and (run := self._windows[c].since(time_ms))
        ]
        return min(firsts) - 1 if firsts else self.tail(channels)
