"""Long-polling: ask, and let the server hold the question until it has an answer.

Owns: the hold. Invariant: the first question is not held, so that a silent channel still says at once where
it stands, and that this transport gets through.
"""

from collections.abc import AsyncGenerator

import aiohttp

from tidings.client.ask import Ask, read_whole
from tidings.client.items import Answer, Ready, Sign, read

# Under the usual 30 s at which proxies cut an answer that does not come.
WAIT = 25
TIMEOUT = aiohttp.ClientTimeout(total=WAIT + 15.0, connect=10.0)


async def receive(session: aiohttp.ClientSession, ask: Ask) -> AsyncGenerator[Sign, None]:
    """Yield what each answer says, for ever. Raises what ask.as_cut tells apart."""
    held = False
    while True:
        query = ask.query("long-polling", wait=str(WAIT)) if held else ask.query("polling")
        async with session.get(ask.url, params=query, timeout=TIMEOUT) as response:
            answer = read(await read_whole(response), Answer)
        if not held:
            yield Ready(None)
        # `more` needs no word here: a question behind which there is something is answered at once.
        held = True
        for sign in answer.signs():
            yield sign
