"""The newest messages of one channel, kept in memory.

Owns: their order, and what was lost. Does not own: when to drop (history.py), durability (logs/).
Invariant: positions rise; everything at or below `lost_through` is gone for good, everything above is here.
"""

from bisect import bisect_right
from operator import attrgetter

from tidings.core.message import Message

_position = attrgetter("position")


class Window:
    """The messages of one channel above `lost_through`, oldest first."""

    __slots__ = ("_messages", "_start", "lost_through")

    def __init__(self, lost_through: int = 0) -> None:
        self.lost_through = lost_through
        # A list with a moving start: a deque cannot be bisected, and cutting a list's head for each
        # message would move the others each time.
        self._messages: list[Message] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._messages) - self._start

    @property
    def oldest(self) -> Message:
        """The first message that is still here. The window must not be empty."""
        return self._messages[self._start]

    @property
    def last(self) -> int:
        """The position of the newest message, or `lost_through` when all are gone."""
        return self._messages[-1].position if len(self) else self.lost_through

    def append(self, message: Message) -> None:
        """Keep `message`, whose position is above all that came before."""
        self._messages.append(message)

    def drop_oldest(self) -> Message:
        """Lose the oldest message and return it."""
        message = self._messages[self._start]
        self._start += 1
        self.lost_through = message.position
        # Half of the list may be dead: amortised, each message is moved at most once.
        if self._start * 2 >= len(self._messages) and self._start >= 16:
            del self._messages[: self._start]
            self._start = 0
        else:
            # The slot stays until then, but must not keep the message alive.
            self._messages[self._start - 1] = _TOMBSTONE
        return message

    def after(self, position: int, limit: int) -> list[Message]:
        """Return at most `limit` messages that stand behind `position`, oldest first."""
        messages = self._messages
        if len(self) == 0 or messages[-1].position <= position:
            return []
        start = bisect_right(messages, position, lo=self._start, key=_position)
        return messages[start : start + limit]

    def last_ones(self, count: int) -> list[Message]:
        """Return the newest `count` messages, or as many as there are, oldest first."""
        return self._messages[max(self._start, len(self._messages) - count) :]

    def since(self, time_ms: int) -> list[Message]:
        """Return the messages that are not older than `time_ms`, oldest first."""
        start = bisect_right(self._messages, time_ms - 1, lo=self._start, key=attrgetter("time_ms"))
        return self._messages[start:]


_TOMBSTONE = Message(epoch="", position=0, channel="", time_ms=0, data=b"")
