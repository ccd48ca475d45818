"""How long something took, where a bound on it is what a test is about."""

import threading
import time
from typing import Self

_TURN = 0.01  # seconds
_LATE = 0.05


class Stopwatch:
    """`seconds` since it was entered, but for those in which this process was not let run.

    A machine that is busy with something else makes nothing late that is measured here. What holds up the
    event loop does: it is counted in a thread.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _count(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(_TURN):
            now = time.monotonic()
            self.seconds += min(now - before, _LATE)
            before = now
