"""One timer for all deadlines and heartbeats.

Owns: who is due in which tick. Does not own: what being due means.
Invariant: an entry is never due early, and at most two ticks late; it stands in at most one slot.
With no entry the loop has no timer.
"""

import logging
from asyncio import AbstractEventLoop
from math import ceil
from typing import Final, Protocol

TICK: Final = 0.1

_log = logging.getLogger("tidings.wheel")


class Entry(Protocol):
    """Something with a deadline. `slot` belongs to the wheel; -1 while it has none."""

    slot: int
    due: int  # the tick of its deadline, while it has one

    def expired(self) -> None:
        """The deadline has come. May set another."""


class Wheel:
    """Entries by the tick that they are looked at in.

    A deadline that is put off, as with every answer on a connection that is kept, costs no set
    operation: its entry is looked at when it was due before, and moved on then.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._start = loop.time()
        self._slots: dict[int, set[Entry]] = {}
        self._tick = 0
        self._running = False

    def set(self, entry: Entry, seconds: float) -> None:
        """Call `entry.expired` once, when `seconds` are over; a deadline it had before is replaced."""
        now = (self._loop.time() - self._start) / TICK
        if not self._running:
            self._running = True
            self._tick = int(now)
            self._loop.call_at(self._start + (self._tick + 1) * TICK, self._turn)
        # A tick that has passed, or is just being gone through, would not come again.
        due = entry.due = max(ceil(now + seconds / TICK), self._tick + 1)
        if not 0 <= entry.slot <= due:
            self.clear(entry)
            self._look_at(entry, due)

    def _look_at(self, entry: Entry, slot: int) -> None:
        entry.slot = slot
        entries = self._slots.get(slot)
        if entries is None:
            entries = self._slots[slot] = set()
        entries.add(entry)

    def clear(self, entry: Entry) -> None:
        """Take the entry's deadline away, if it has one."""
        if entry.slot >= 0:
            entries = self._slots.get(entry.slot)
            entry.slot = -1
            if entries is not None:  # None for the tick that is just being gone through
                entries.discard(entry)

    def _turn(self) -> None:
        now = int((self._loop.time() - self._start) / TICK)
        # A loop that was blocked, or a machine that slept, owes several ticks.
        while self._tick < now:
            self._tick += 1
            for entry in self._slots.pop(self._tick, ()):
                if entry.slot != self._tick:
                    continue  # another one that was due has moved it
                if entry.due > self._tick:
                    self._look_at(entry, entry.due)
                    continue
                entry.slot = -1
                try:
                    entry.expired()
                except Exception:
                    _log.exception("a deadline failed")
        if self._slots:
            self._loop.call_at(self._start + (self._tick + 1) * TICK, self._turn)
        else:
            self._running = False
