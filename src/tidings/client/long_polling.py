"""Long-polling: ask, and let the server hold the question until it has an answer.

Owns: the hold. Invariant: the first question is not held, so that a silent channel still says at once where
it stands, and that this transport gets through.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp

from tidings.client.ask import CONNECT_TIMEOUT, HOLD, HOLD_LEAST, Ask, read_whole
from tidings.client.errors import Refused
from tidings.client.items import Answer, Ready, Sign, read

# Behind a cache that merges questions an answer may come that much later than it was asked for.
GRACE: Final = 15.0
# Two cuts at ages that differ by no more were made by the same clock on the way.
SAME_AGE: Final = 1.0


async def receive(session: aiohttp.ClientSession, ask: Ask) -> AsyncGenerator[Sign, None]:
    """Yield what each answer says, for ever. Raises what ask.as_cut tells apart."""
    held = False
    while True:
        query = ask.query("long-polling", wait=f"{ask.hold:g}") if held else ask.query("polling")
        timeout = aiohttp.ClientTimeout(total=HOLD + GRACE, connect=CONNECT_TIMEOUT)
        begun = _now()
        try:
            async with session.get(
                ask.url, params=query, headers=await ask.headers(), timeout=timeout
            ) as response:
                answer = read(await read_whole(response), Answer)
        except (aiohttp.ClientError, OSError, Refused):
            if held:
                _shorten(ask, _now() - begun)
            raise
        if not held:
            yield Ready(None)
        # `more` needs no word here: a question behind which there is something is answered at once.
        held = True
        for sign in answer.signs():
            yield sign


def _shorten(ask: Ask, age: float) -> None:
    """Hold less long where answers are cut at the same age again and again, as by a proxy's time limit."""
    if age >= HOLD_LEAST and abs(age - ask.cut_at) <= SAME_AGE:
        # Not by the age itself: the library asks a second time by itself where a kept connection is cut.
        ask.hold = max(HOLD_LEAST, ask.hold / 2)
    ask.cut_at = age


def _now() -> float:
    return asyncio.get_running_loop().time()
