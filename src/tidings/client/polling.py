"""Polling: ask, take what there is, sleep, ask again.

Owns: the rhythm of asking. Invariant: an answer that was cut short (`more`) is followed up without a pause.
"""

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final

import aiohttp

from tidings.client.ask import Ask, read_whole
from tidings.client.items import Answer, Ready, Sign, read

TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0, connect=10.0)
# A 304 bears no advice. Who follows it asks for a whole answer after so many of them in a row: a channel that
# has fallen silent would else be asked for ever as often as when it was busy.
SILENT: Final = 9


async def receive(session: aiohttp.ClientSession, ask: Ask) -> AsyncGenerator[Sign, None]:
    """Yield what each answer says, for ever. Raises what ask.as_cut tells apart."""
    heard = False
    # The last answer's: one made from the cursor might be ahead of the channel's last message (spec §5.1).
    tag: str | None = None
    silent = 0
    while True:
        headers = await ask.headers()
        if tag is not None and (ask.interval is not None or silent < SILENT):
            # Nothing new costs 304 and no body.
            headers["If-None-Match"] = tag
        more = False
        async with session.get(
            ask.url, params=ask.query("polling"), headers=headers, timeout=TIMEOUT
        ) as response:
            tag = response.headers.get("ETag", tag)
            answer = None
            if response.status != HTTPStatus.NOT_MODIFIED:
                answer = read(await read_whole(response), Answer)
        if not heard:
            heard = True
            yield Ready(None)
        if answer is None:
            silent += 1
        else:
            silent = 0
            more = answer.more
            for sign in answer.signs():
                yield sign
        if not more:
            await asyncio.sleep(ask.advised if ask.interval is None else ask.interval)
