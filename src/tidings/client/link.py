"""One connection of a subscription: one transport, read in a task of its own.

Owns: the task, the first sign's deadline, and asking once more with a new token. Does not own: what the signs
mean, or what follows a failure (supervisor.py).
Invariant: a link hands on nothing before it was told that it is the one, and nothing after it was cancelled.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import aiohttp

from tidings.client import long_polling, polling, sse, web_socket
from tidings.client.ask import Ask, as_cut
from tidings.client.errors import Refused
from tidings.client.items import Advice, Sign

# Until the first sign of life; longer than connecting may take, which says more about what is wrong.
FIRST_SIGN: Final = 12.0
# Of a WebSocket or stream whose token is not taken: the twin of 401.
BAD_TOKEN: Final = 4501

_Receive = Callable[[aiohttp.ClientSession, Ask], AsyncGenerator[Sign, None]]
_RECEIVE: Final[dict[str, _Receive]] = {
    "websocket": web_socket.receive,
    "sse": sse.receive,
    "long-polling": long_polling.receive,
    "polling": polling.receive,
}


class Link:
    """A connection that is being made, or read.

    `claim` is asked at the first sign of life whether this link is the one; `take` is given its signs then,
    and advice at any time. `ended` is called when it has ended by itself.
    """

    def __init__(
        self,
        transport: str,
        session: aiohttp.ClientSession,
        ask: Ask,
        *,
        claim: Callable[["Link"], bool],
        take: Callable[["Link", Sign], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        """Begin to connect over `transport`."""
        self.transport = transport
        self.failure: Exception | None = None
        self.done = False
        # When it got through; None: it did not, yet.
        self.since: float | None = None
        self._session = session
        self._ask = ask
        self._claim = claim
        self._take = take
        self._ended = ended
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def lived(self) -> float:
        """Seconds since it got through."""
        return 0.0 if self.since is None else asyncio.get_running_loop().time() - self.since

    def cancel(self) -> None:
        """End it, whatever it does."""
        self.task.cancel()

    async def _run(self) -> None:
        try:
            await self._carry()
        except Exception as why:
            self.failure = as_cut(why) or why
        self.done = True
        self._ended()

    async def _carry(self) -> None:
        renewed = False
        while True:
            try:
                # Apart from the deadline: a slow token is no slow transport.
                await self._ask.token.get()
                async with aclosing(_RECEIVE[self.transport](self._session, self._ask)) as signs:
                    async with asyncio.timeout(None if self.since is not None else FIRST_SIGN):
                        sign = await self._first(signs)
                    if self.since is None and not self._claim(self):
                        return
                    self.since = self.since or asyncio.get_running_loop().time()
                    renewed = False
                    await self._take(self, sign)
                    async for sign in signs:
                        await self._take(self, sign)
            except Refused as no:
                if no.status not in {HTTPStatus.UNAUTHORIZED, BAD_TOKEN} or renewed:
                    raise
                if not self._ask.token.refused(self._ask.bearer):
                    raise
                renewed = True

    async def _first(self, signs: AsyncGenerator[Sign, None]) -> Sign:
        """Return the first sign of life, which advice is not."""
        while isinstance(sign := await anext(signs), Advice):
            await self._take(self, sign)
        return sign
