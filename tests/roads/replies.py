"""What listeners publish themselves, by the road that they listen behind.

Owns: when they do, and asking the server what has become of it. Does not own: whether it is right (book.py).
Invariant: a listener publishes one after another, so that the log's order is its own.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from kit import ServerProcess
from roads.listeners import REPLIES, Listener

EVERY = 1.0


@asynccontextmanager
async def sending(listeners: Sequence[Listener]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Let each publish about once a second meanwhile. The tasks end with the answer to what is on its way."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_send(listener, stop)) for listener in listeners]
    try:
        yield tasks
    finally:
        stop.set()


async def _send(listener: Listener, stop: asyncio.Event) -> None:
    heard = listener.heard
    while not stop.is_set():
        try:
            heard.sent.append(await listener.send(len(heard.sent)))
        except Exception as why:
            heard.unsent.append(f"could not publish: {why!r}")
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await stop.wait()


async def answered(tasks: Sequence[asyncio.Task[None]], listeners: Sequence[Listener], within: float) -> None:
    """Wait until all that was on its way is answered; who is not is to blame."""
    await asyncio.wait(tasks, timeout=within)
    for task, listener in zip(tasks, listeners, strict=True):
        if not task.done():
            listener.heard.unsent.append(f"number {len(listener.heard.sent)} that it published is unanswered")
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def kept(server: ServerProcess) -> dict[str, list[tuple[str, int]]]:
    """Return what the log has, for each listener: ids and numbers, in the log's order."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    after, more = "earliest", True
    async with aiohttp.ClientSession() as session:
        while more:
            query = {"after": after, "limit": "1000"}
            async with session.get(f"{server.url}/channels/{REPLIES}", params=query) as answer:
                page = await answer.json()
            for message in page["messages"]:
                found[message["data"]["who"]].append((message["id"], message["data"]["number"]))
            after, more = page["cursor"], page.get("more", False)
    return found
