"""What has come and was not yet handed out, bounded.

Owns: the items between the connection and the application, and the cursor that goes with each. Does not own:
the connection: where there is no room it is not read, and the server is pushed back.
Invariant: `cursor` is behind what was handed out, and never behind what is still in here; at most ITEMS
items, and BYTES before the last of them, are held.
"""

import asyncio
from collections import deque
from typing import Final

from tidings.client.items import Gap, Message

ITEMS: Final = 256
BYTES: Final = 1024 * 1024


class Buffer:
    """One writer puts, one reader takes."""

    def __init__(self) -> None:
        # The cursor of an entry is where the subscription stands once it was handed out.
        self._entries: deque[tuple[Message | Gap, str | None]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._failure: Exception | None = None
        self._ended = False
        self.cursor: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be put."""
        return self._ended

    async def room(self) -> None:
        """Wait until there is room for one more item. Cancelling loses nothing."""
        await self._room.wait()

    def put(self, item: Message | Gap, cursor: str | None) -> None:
        """Add an item; the caller has waited for room."""
        self._entries.append((item, cursor))
        self._bytes += _size(item)
        if len(self._entries) >= ITEMS or self._bytes >= BYTES:
            self._room.clear()
        self._filled.set()

    def move(self, cursor: str | None) -> None:
        """Move the cursor behind all that is in here."""
        if self._entries:
            item, _ = self._entries[-1]
            self._entries[-1] = (item, cursor)
        else:
            self.cursor = cursor

    def end(self, failure: Exception | None = None) -> None:
        """Say that no more comes; `failure` is raised behind what is in here."""
        if not self._ended:
            self._ended, self._failure = True, failure
        self._filled.set()

    def clear(self) -> None:
        """Drop what was not handed out; the cursor stays before it."""
        self._entries.clear()
        self._bytes = 0
        self._failure = None

    async def take(self) -> Message | Gap:
        """Return the next item; raises the failure once, and StopAsyncIteration at the end.

        Cancelling loses nothing.
        """
        while not self._entries:
            if self._ended:
                failure, self._failure = self._failure, None
                raise failure or StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        item, self.cursor = self._entries.popleft()
        self._bytes -= _size(item)
        if len(self._entries) < ITEMS // 2 and self._bytes < BYTES // 2:
            self._room.set()
        return item


def _size(item: Message | Gap) -> int:
    return len(item.json) if isinstance(item, Message) else 0
