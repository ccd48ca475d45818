"""What the clients of one transport did between two moments: requests, answers, bytes, delays.

Owns: the counts. Does not own: when the counting begins and ends (measure.py).
Invariant: what happened before `begins` or from `ends` on is not in them; but a stream's opening is, once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of all clients together; moments are seconds of the monotonic clock.

    `moves` are pieces of bytes that went up or came down: what the server has read and written.

    `due` says when each message, by its number, was to be published.
    """

    due: Sequence[float] = ()
    begins: float = -math.inf
    ends: float = math.inf
    requests: int = 0
    answers: int = 0
    empty: int = 0
    up: int = 0
    down: int = 0
    moves: int = 0
    delays: list[float] = field(default_factory=list)

    def counts(self, now: float) -> bool:
        """Say whether what happens now is counted."""
        return self.begins <= now < self.ends

    def sent(self, size: int, now: float, *, request: bool) -> None:
        """Count bytes on their way up, which may be a request."""
        if self.counts(now):
            self.up += size
            self.moves += 1
            self.requests += request

    def came(self, size: int, now: float) -> None:
        """Count bytes that have come down."""
        if self.counts(now):
            self.down += size
            self.moves += 1

    def opened(self, up: int, down: int) -> None:
        """Count a stream's opening, whenever it was."""
        self.requests += 1
        self.up += up
        self.down += down

    def answered(self, now: float, *, empty: bool) -> None:
        """Count a whole answer."""
        if self.counts(now):
            self.answers += 1
            self.empty += empty

    def heard(self, number: int, now: float, way: float) -> None:
        """Count message `number`, which a client has `way` after `now`."""
        if self.counts(now) and number < len(self.due):
            self.delays.append(now + way - self.due[number])
