"""One timer for all deadlines and heartbeats.

Owns: who is due in which tick. Does not own: what being due means.
Invariant: an entry is never due early, and at most two ticks late; it stands in at most one slot.
With no entry the loop has no timer.
"""

from asyncio import AbstractEventLoop
from math import ceil
from typing import Final, Protocol

TICK: Final = 0.1


class Entry(Protocol):
    """Something with a deadline. `slot` belongs to the wheel; -1 while it has none."""

    slot: int

    def expired(self) -> None:
        """The deadline has come. May set another."""


class Wheel:
    """Entries by the tick that they are due in: setting and clearing are one set operation each."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._start = loop.time()
        self._slots: dict[int, set[Entry]] = {}
        self._tick = 0
        self._running = False

    def set(self, entry: Entry, seconds: float) -> None:
        """Call `entry.expired` once, when `seconds` are over; a deadline it had before is replaced."""
        slot = ceil((self._loop.time() - self._start + seconds) / TICK)
        if slot == entry.slot:
            return
        if entry.slot >= 0:
            self._slots[entry.slot].discard(entry)
        entry.slot = slot
        entries = self._slots.get(slot)
        if entries is None:
            entries = self._slots[slot] = set()
        entries.add(entry)
        if not self._running:
            self._running = True
            self._tick = int((self._loop.time() - self._start) / TICK)
            self._loop.call_at(self._start + (self._tick + 1) * TICK, self._turn)

    def clear(self, entry: Entry) -> None:
        """Take the entry's deadline away, if it has one."""
        if entry.slot >= 0:
            self._slots[entry.slot].discard(entry)
            entry.slot = -1

    def _turn(self) -> None:
        now = int((self._loop.time() - self._start) / TICK)
        # A loop that was blocked, or a machine that slept, owes several ticks.
        while self._tick < now:
            self._tick += 1
            for entry in self._slots.pop(self._tick, ()):
                entry.slot = -1
                entry.expired()
        if self._slots:
            self._loop.call_at(self._start + (self._tick + 1) * TICK, self._turn)
        else:
            self._running = False
