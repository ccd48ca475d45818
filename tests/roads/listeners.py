"""Those who listen behind a road: the Python client here, a page in a browser in pages.py.

Owns: writing down what the client says, as it says it. Does not own: whether that is right (book.py).
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import tidings
from roads.book import Heard
from tidings.client import State

CHANNEL = "news"
# What listeners publish themselves, by the road that they listen behind.
REPLIES = "replies"


class Listener(Protocol):
    """One who listens. What it was told is in `heard` after `look`."""

    heard: Heard

    async def open(self) -> None:
        """Begin to listen; return without waiting for anything to come."""

    async def look(self) -> Heard:
        """Return what it was told until now."""

    async def send(self, number: int) -> str:
        """Publish a reply, and return its id."""

    async def close(self) -> None:
        """Stop listening."""


class PythonListener:
    """The Python client, as a program would use it: nothing is set but the address."""

    def __init__(self, road: str, url: str) -> None:
        self.heard = Heard(road, "python")
        # Half-open connections are found out by their silence, and what is published waits for that.
        self._client = tidings.connect(url, timeout=120)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._task = asyncio.create_task(self._listen())

    async def look(self) -> Heard:
        return self.heard

    async def send(self, number: int) -> str:
        receipt = await self._client.publish(REPLIES, {"who": str(self.heard), "number": number})
        return receipt.id

    async def close(self) -> None:
        await self._client.aclose()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        heard, began = self.heard, time.monotonic()
        try:
            async for item in self._client.subscribe(CHANNEL, on_state=self._note):
                if isinstance(item, tidings.Gap):
                    heard.gaps.append(str(item))
                    continue
                if heard.first is None:
                    heard.first = time.monotonic() - began
                heard.ids.append(item.id)
        except Exception as why:
            heard.troubles.append(f"ended with {why!r}")

    def _note(self, state: State) -> None:
        if state.name == "live":
            self.heard.transports.append(state.transport)
            self.heard.connections += 1


async def all_have(listeners: Sequence[Listener], last: str | None, within: float) -> None:
    """Wait until each was told a message, or, where one is named, that message; at most `within` seconds.

    Who was not is seen in the verdict: nothing is raised.
    """
    waiting = list(listeners)
    deadline = time.monotonic() + within
    while waiting and time.monotonic() < deadline:
        told = [(one, (await one.look()).ids) for one in waiting]
        waiting = [one for one, ids in told if not ids or (last is not None and last not in ids[-1:])]
        await asyncio.sleep(0.05)
