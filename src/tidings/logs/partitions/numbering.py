"""Cursors of a log of partitions: a place in each partition that a client's channels touch (spec §3.1).

Owns: which partition a channel is in, and what a place on this node's line is in a cursor and back. Does not
own: the line (line.py), the partitions themselves (log.py).
Invariant: what a client is told of a partition never goes back.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from zlib import crc32

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Cursor, Life, Message
from tidings.core.numbering import Floors, Located, Numbering
from tidings.logs.base import Log
from tidings.logs.partitions.line import Line
from tidings.wire import cursor as cursors


class PartitionedNumbering(Numbering):
    """Cursors as a position in each partition that a client's channels touch."""

    partitioned = True

    def __init__(self, partitions: Sequence[Log]) -> None:
        self._partitions = partitions
        self._count = len(partitions)
        self.line = Line(self._count)
        # Which life of each partition the line was begun in.
        self.lives: Sequence[Life] = ()

    def partition(self, channel: str) -> int:
        """See Numbering: by the channel's CRC-32, so that all nodes and versions agree."""
        return crc32(channel.encode()) % self._count

    def touched(self, channels: Sequence[str]) -> list[int]:
        """Return the partitions of `channels`, rising."""
        return sorted({self.partition(channel) for channel in channels})

    def check(self, channels: Sequence[str]) -> None:
        """See Numbering: a cursor has room for so many places, and no more."""
        touched = len(self.touched(channels))
        if touched > limits.PARTITIONS_PER_CURSOR:
            raise Refusal(
                "too_many_channels",
                f"These channels are in {touched} partitions of the log, and one cursor has room for "
                f"{limits.PARTITIONS_PER_CURSOR}: ask for them on several connections.",
            )

    def epoch(self, partitions: Iterable[int]) -> str:
        """Return the life of these partitions together: of one alone, its own."""
        return joined([self.lives[partition].epoch for partition in partitions])

    def label(self, message: Message, partition: int) -> None:
        """Write its id on a message of one partition, as whoever hears only that partition is told it."""
        message.label = f"{message.epoch}-{partition}.{message.position}"
        message.envelope = message.event_stream = message.web_socket = None

    def cursor(
        self,
        epoch: str,  # noqa: ARG002  each partition has its own
        position: int,
        channels: Sequence[str],
        floors: Floors = None,
    ) -> Cursor:
        """See Numbering. What a client has of a partition is what it has of all its channels there."""
        had: dict[int, int] = {}
        for channel in channels:
            partition, floor = self.partition(channel), (floors or {}).get(channel, 0)
            had[partition] = min(had.get(partition, floor), floor)
        touched = sorted(had) or range(self._count)
        places = tuple((p, self.line.position_in(p, max(position, had.get(p, 0)))) for p in touched)
        return Cursor(self.epoch(touched), 0, places)

    def locate(self, cursor: Cursor, channels: Sequence[str]) -> Located:
        """See Numbering. A partition that the cursor does not speak of may have lost anything."""
        places = dict(cursor.partitions)
        found: dict[str, int] = {}
        lost = []
        for channel in channels:
            partition = self.partition(channel)
            place = places.get(partition, -1)
            life = self.lives[partition]
            if place < max(self.line.known_from(partition), life.marks.get(channel, life.lost_through)):
                lost.append(channel)
            found[channel] = self.line.find(partition, place)
        position = min(found.values(), default=0)
        floors = {channel: floor for channel, floor in found.items() if floor > position}
        return Located(position, floors or None, tuple(lost))

    def is_of(self, cursor: Cursor, epoch: str) -> bool:  # noqa: ARG002  each partition has its own
        """See Numbering."""
        touched = [partition for partition, _ in cursor.partitions]
        return bool(touched) and touched[-1] < self._count and cursor.epoch == self.epoch(touched)

    def is_followed(self, cursor: Cursor, position: int) -> bool:  # noqa: ARG002  the line knows
        """See Numbering."""
        followed = self.line.followed
        return bool(cursor.partitions) and all(
            partition < self._count and place <= followed[partition] for partition, place in cursor.partitions
        )

    def is_given(self, cursor: Cursor, head: int) -> bool:  # noqa: ARG002  each partition has its own
        """See Numbering."""
        return bool(cursor.partitions) and all(
            partition < self._count and place <= self._partitions[partition].head
            for partition, place in cursor.partitions
        )

    def goal(self, epoch: str, head: int) -> Cursor:  # noqa: ARG002  each partition has its own
        """See Numbering."""
        return Cursor(epoch, 0, tuple(enumerate(log.head for log in self._partitions)))

    def told(
        self, messages: Sequence[Message], channels: Sequence[str], floors: Floors = None
    ) -> Sequence[Message]:
        """See Numbering. Who hears one partition shares the messages' own renderings."""
        touched = self.touched(channels)
        if len(touched) <= 1:
            return messages
        return [self._relabelled(message, channels, floors) for message in messages]

    def _relabelled(self, message: Message, channels: Sequence[str], floors: Floors) -> Message:
        label = cursors.encode(self.cursor(message.epoch, message.position, channels, floors))
        return replace(message, label=label, envelope=None, event_stream=None, web_socket=None)


def joined(epochs: Sequence[str]) -> str:
    """Return a name for the lives of several partitions together, the same at every node; of one, its own."""
    return epochs[0] if len(epochs) == 1 else hashlib.sha256(" ".join(epochs).encode()).hexdigest()[:10]
