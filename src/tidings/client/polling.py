"""Polling: ask, take what there is, sleep, ask again.

Owns: the rhythm of asking. Invariant: an answer that was cut short (`more`) is followed up without a pause.
"""

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus

import aiohttp

from tidings.client.ask import Ask, read_whole
from tidings.client.items import Answer, Ready, Sign, read

TIMEOUT = aiohttp.ClientTimeout(total=30.0, connect=10.0)


async def receive(session: aiohttp.ClientSession, ask: Ask) -> AsyncGenerator[Sign, None]:
    """Yield what each answer says, for ever. Raises what ask.as_cut tells apart."""
    heard = False
    while True:
        # Nothing new costs 304 and no body.
        headers = {"If-None-Match": f'"{ask.after}"'} if ask.after is not None else {}
        query = ask.query("polling")
        more = False
        async with session.get(ask.url, params=query, headers=headers, timeout=TIMEOUT) as response:
            answer = None
            if response.status != HTTPStatus.NOT_MODIFIED:
                answer = read(await read_whole(response), Answer)
        if not heard:
            heard = True
            yield Ready(None)
        if answer is not None:
            more = answer.more
            for sign in answer.signs():
                yield sign
        if not more:
            await asyncio.sleep(ask.interval)
