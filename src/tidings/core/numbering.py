"""How the positions of this node's line of messages are told to clients as cursors, and back.

Owns: the one-log case, where a position is told as it is. Does not own: a log of several partitions,
whose positions are this node's own and whose cursors have a position in each (logs/partitions/).
Invariant: what a cursor leads to is never behind what its client has, and skips nothing unsaid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidings.core.message import Cursor, Message

Floors = Mapping[str, int] | None
"""Channels of which a client has more than its one position says, and up to where."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where on this node's line a cursor stands: a position, and channels whose reader has more than that.

    `lost` are channels of which messages behind the cursor are known to be gone.
    """

    position: int
    floors: dict[str, int] | None = None
    lost: tuple[str, ...] = ()


class Numbering:
    """The numbering of one log: a position is the same number here, at every node, and in a cursor."""

    partitioned = False

    def check(self, channels: Sequence[str]) -> None:
        """Refuse channels that no one cursor can speak of, with `too_many_channels`."""

    def partition(self, channel: str) -> int:  # noqa: ARG002  for partitions
        """Return which partition `channel` is in; of one log it is 0."""
        return 0

    def cursor(
        self,
        epoch: str,
        position: int,
        channels: Sequence[str],  # noqa: ARG002
        floors: Floors = None,  # noqa: ARG002
    ) -> Cursor:
        """Return what a client of `channels` is told that has all up to `position` and its floors."""
        return Cursor(epoch, position)

    def locate(self, cursor: Cursor, channels: Sequence[str]) -> Located:  # noqa: ARG002
        """Return where `cursor`, which is of this life and followed, stands for `channels`."""
        return Located(cursor.position)

    def is_of(self, cursor: Cursor, epoch: str) -> bool:
        """Whether `cursor` is of the life `epoch`, as far as its own partitions go."""
        return cursor.epoch == epoch

    def is_followed(self, cursor: Cursor, position: int) -> bool:
        """Whether who has followed up to `position` has brought everything up to `cursor`."""
        return cursor.position <= position and not cursor.partitions

    def is_given(self, cursor: Cursor, head: int) -> bool:
        """Whether `cursor` has been given out by a log whose head is `head`; else it is from the future."""
        return cursor.position <= head and not cursor.partitions

    def goal(self, epoch: str, head: int) -> Cursor:
        """Return the cursor of who has everything up to the `head` that a log knows of."""
        return Cursor(epoch, head)

    def told(
        self,
        messages: Sequence[Message],
        channels: Sequence[str],  # noqa: ARG002
        floors: Floors = None,  # noqa: ARG002
    ) -> Sequence[Message]:
        """Return `messages` with the ids that a client of `channels` is told, whose `floors` are these."""
        return messages


ONE_LOG = Numbering()
