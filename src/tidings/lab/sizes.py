"""The bytes of one exchange of each kind: what the formulas are fed with. Pure.

Owns: how an answer's size depends on what it holds. Does not own: finding the sizes out (calibrate.py).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Polls:
    """A question; an answer's head, without the digits of its length, and its body with nothing in it."""

    request: float
    head: float
    envelope: float
    message: float
    separator: float = 1.0

    def answer(self, messages: int) -> float:
        """Return the bytes of a whole answer that holds so many messages."""
        inside = messages * self.message + max(0, messages - 1) * self.separator
        body = self.envelope + inside
        return self.head + len(str(round(body))) + body

    @property
    def empty(self) -> float:
        """The bytes of an answer with nothing in it."""
        return self.answer(0)

    @property
    def further(self) -> float:
        """The bytes of one message more in an answer that holds some."""
        return self.message + self.separator


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An opening, up and down; a message in its frame; what keeps the stream open.

    That is so many bytes, in so many moves, a second (pings), and `quiet_size` bytes after each `quiet_every`
    seconds of silence.
    """

    opening_up: float
    opening_down: float
    message: float
    idle_up: float = 0.0
    idle_down: float = 0.0
    quiet_every: float = math.inf
    quiet_size: float = 0.0
    idle_moves: float = 0.0

    def comments(self, rate: float) -> float:
        """Return how often a second it is kept open in silence, where messages come by chance at `rate`."""
        # The share of waits that are longer; and of what is left of those, the same share again.
        silent = math.exp(-rate * self.quiet_every)
        return rate * silent / (1 - silent)

    def kept_open(self, rate: float) -> float:
        """Return the bytes a second down that keep it open."""
        return self.idle_down + self.quiet_size * self.comments(rate)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All of them."""

    polling: Polls
    long_polling: Polls
    sse: Stream
    websocket: Stream
