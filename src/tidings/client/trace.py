"""What was tried, and why it fell: the last of it, in plain words.

Owns: the lines of one subscription or client, bounded. Does not own: the words.
"""

import time
from collections import deque
from typing import Final

LINES: Final = 40


class Trace:
    """The last lines, each with the time of day at which it was said."""

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str]] = deque(maxlen=LINES)

    def say(self, text: str) -> None:
        """Note one line, now."""
        self._lines.append((time.time(), text))

    def lines(self) -> list[str]:
        """Return the lines, oldest first, with local times."""
        return [f"{_clock(at)} {text}" for at, text in self._lines]


def _clock(at: float) -> str:
    seconds, fraction = divmod(at, 1.0)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{int(fraction * 10)}"
