"""Publishing from asyncio: one message, asked for until there is a receipt.

Owns: the request, trying again, and what may have become of a message that has no receipt. Does not own: what
is a message (batches.py), or the connections (ask.py).
Invariant: all tries of one message bear one idempotency key, so it is published once however often an answer
was lost on the way.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import aiohttp

from tidings.client.address import Address
from tidings.client.ask import CONNECT_TIMEOUT, as_cut, read_whole
from tidings.client.async_token import AsyncToken
from tidings.client.backoff import Backoff
from tidings.client.batches import Outgoing, request
from tidings.client.errors import BadAnswer, Cut, NotAcknowledged, Refused
from tidings.client.receipt import Receipt, read_receipt
from tidings.client.trace import Trace

# Requests on their way together; each has a connection while it is.
TOGETHER: Final = 16
# Seconds for one try. The server answers within 10; what takes longer is a connection that only looks open.
TRY: Final = 12.0
# Seconds: the first bound of the waits between tries, and the last.
BACKOFF: Final = 0.1
BACKOFF_CAP: Final = 5.0
# Refusals by which the server says that it has taken nothing, and may later.
_NOTHING_TAKEN: Final = frozenset({"shutting_down", "too_many_connections", "request_timeout"})


class Publishing:
    """What a client publishes."""

    def __init__(
        self, address: Address, token: AsyncToken, session: Callable[[], aiohttp.ClientSession]
    ) -> None:
        """Take where to publish, as whom, and over what."""
        self._address = address
        self._token = token
        self._session = session
        self._turns = asyncio.Semaphore(TOGETHER)
        self._closing = asyncio.Event()
        self._trace = Trace()

    def trouble(self) -> list[str]:
        """Return the last failed tries, in plain words."""
        lines = self._trace.lines()
        return ["publishing:", *(f"  {line}" for line in lines)] if lines else []

    def close(self) -> None:
        """Give up what is on its way; the caller closes the connections."""
        self._closing.set()

    async def publish(self, message: Outgoing, within: float) -> Receipt:
        """Return the receipt. Raises NotAcknowledged, Refused and BadAnswer. Cancelling leaves it unknown."""
        attempt = _Attempt()
        try:
            async with asyncio.timeout(within), self._turns:
                return await self._until_answered(message, attempt)
        except TimeoutError:
            reason = f"{attempt.reason} (within {within:g} s)"
        except _Closed:
            reason = "the client was closed"
        raise NotAcknowledged(
            self._address.text,
            reason,
            maybe_published=attempt.sent,
            idempotency_key=message.idempotency_key,
        )

    async def _until_answered(self, message: Outgoing, attempt: "_Attempt") -> Receipt:
        backoff = Backoff(BACKOFF, BACKOFF_CAP)
        renewed = False
        while True:
            token: str | None = None
            before = attempt.sent
            try:
                token = await self._token.get()
                if self._closing.is_set():
                    raise _Closed
                # From here on it may arrive, whatever we hear of it.
                attempt.sent = True
                return await self._once(message, token)
            except Refused as no:
                if no.status == HTTPStatus.UNAUTHORIZED and not renewed and self._token.refused(token):
                    renewed, attempt.sent = True, before
                    continue
                if not no.retry:
                    raise
                attempt.sent = before or no.code not in _NOTHING_TAKEN
                failure: Cut = Cut(no.detail, wait=no.retry_after)
            except Exception as why:
                cut = as_cut(why)
                if cut is None:
                    raise
                failure = cut
                # Without a token, or a connection, nothing went out.
                attempt.sent = before or not (cut.unreachable or (token is None and self._token.renewable))
            attempt.reason = failure.reason.rstrip(".")
            wait = backoff.next(failure.wait)
            self._trace.say(f"{message.channel}: {attempt.reason}; again in {wait:.1f} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._closing.wait()

    async def _once(self, message: Outgoing, token: str | None) -> Receipt:
        query, headers = request(message)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self._session().post(
            self._address.url((message.channel,)),
            params=query,
            data=message.data,
            headers=headers,
            # A redirect would turn it into a question.
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=TRY, connect=CONNECT_TIMEOUT),
        ) as answer:
            body = await read_whole(answer)
            if answer.status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
                raise BadAnswer(
                    f"{self._address.text} answered {answer.status} where a Tidings server says 201"
                )
            return read_receipt(body, message)


class _Closed(Exception):
    """The client was closed meanwhile."""


class _Attempt:
    """What is known of a message on its way."""

    def __init__(self) -> None:
        self.reason = "it had no turn"
        # A request went out, and it is not known what became of it.
        self.sent = False
