"""What this node knows of the log: which life it is in, and the newest entry that was seen of it.

Owns: which of two lives is the newer one, as far as can be told here. Does not own: lives (script.py).
Invariant: within a life what is known only grows.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from tidings.logs.redis.script import Seen

_PAST: Final = 16  # lives remembered, so that a late word of one is not taken for news


class Known:
    """The newest that appends and followers of one log have seen. `changed` is called with each new life."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self.seen: Seen | None = None
        self._changed = changed
        self._past: deque[str] = deque(maxlen=_PAST)

    def join(self, seen: Seen) -> None:
        """Take the word of a connection that was just made: that is the life which goes on."""
        if seen.epoch in self._past:
            self._past.remove(seen.epoch)
        self.hear(seen)

    def hear(self, seen: Seen) -> None:
        """Take an answer's word, unless it is of a life that is over: then it was only late."""
        known = self.seen
        if known is not None and known.epoch == seen.epoch:
            if seen.position > known.position:
                self.seen = seen
        elif seen.epoch not in self._past:
            if known is not None:
                self._past.append(known.epoch)
            self.seen = seen
            self._changed(seen.epoch)
