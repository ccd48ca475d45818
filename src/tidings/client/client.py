"""A client of one server: subscriptions and publishing over whichever transport gets through.

Owns: what both share (the address, the token, the connections), and their end. Does not own: how a
subscription runs (supervisor.py), or how a message is published (publishing.py).
Invariant: when it is closed, nothing of it is left: no task, no connection.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp

from tidings.client import batches
from tidings.client.address import read_address, read_channels
from tidings.client.ask import Ask, open_session
from tidings.client.async_token import AsyncToken, Source
from tidings.client.choice import TRANSPORTS, Choice, Transport
from tidings.client.feed import Feed
from tidings.client.place import Place
from tidings.client.publishing import Publishing
from tidings.client.receipt import Receipt
from tidings.client.state import State
from tidings.client.supervisor import Supervisor

# Less than half of the time for which idempotency keys are remembered, so that a late try is still known.
TIMEOUT_MOST: Final = 300.0


def connect(
    url: str,
    *,
    token: Source | None = None,
    transports: Sequence[Transport] | None = None,
    timeout: float = 30.0,
) -> "Client":
    """Return a client of the server at `url`. Nothing is connected before it is used.

        async with tidings.connect("http://127.0.0.1:8080") as client:
            async for item in client.subscribe("news"):
                …

    `token` says who is asking: a text, or a function, plain or async, that fetches one; it is called again
    when the server does not take the token any more. `transports` are those that may be used, the preferred
    first; None: all four. `timeout` is the seconds that a publish may take, all its tries together; 300 at
    most.

    Raises BadAddress, and ValueError for a transport, a timeout or a token that is none.
    """
    return Client(url, token=token, transports=transports, timeout=timeout)


class Client:
    """One server, as `connect` describes it. It belongs to one event loop; close it, or use `async with`."""

    def __init__(
        self,
        url: str,
        *,
        token: Source | None = None,
        transports: Sequence[Transport] | None = None,
        timeout: float = 30.0,
    ) -> None:
        """Take what `connect` takes."""
        self._address = read_address(url)
        self._token = AsyncToken(token)
        self._transports = _read_transports(transports)
        self._timeout = _read_timeout(timeout)
        self._session: aiohttp.ClientSession | None = None
        self._supervisors: set[Supervisor] = set()
        self._closed = False
        self._publishing = Publishing(self._address, self._token, self._open)

    def subscribe(
        self,
        *channels: str,
        after: str | None = None,
        rewind: int | str | None = None,
        limit: int | None = None,
        interval: float | None = None,
        persist: bool = True,
        on_state: Callable[[State], None] | None = None,
    ) -> Feed:
        """Return a feed of these channels' messages and gaps: iterate over it with `async for`.

        Where to begin: `after` a cursor, or after="earliest"; or `rewind` by a number of messages (20) or a
        time ("30s"); with neither, from now on. `limit` is the most messages in one answer of a poll, and
        `interval` seconds between two polls; without one, they come as the server advises. `on_state` is
        called whenever the connection stands otherwise.

        A cut connection is begun again where it ended, for ever; with persist=False, `Unreachable` is raised
        where none of the transports got through even once.

        Raises Refused and ValueError at once; Refused, BadAnswer and Unreachable while iterating.
        """
        if self._closed:
            raise RuntimeError("this client is closed")
        if after is not None and rewind is not None:
            raise ValueError("after and rewind both say where to begin; give one of them")
        if interval is not None and not interval > 0:
            raise ValueError("interval is seconds, more than 0")
        ask = Ask(
            self._address,
            read_channels(channels),
            Place(after),
            self._token,
            rewind=None if rewind is None else str(rewind),
            limit=limit,
            interval=interval,
        )
        supervisor = Supervisor(
            ask,
            Choice(self._address.origin, self._transports),
            self._open,
            persist=persist,
            on_state=on_state or (lambda _: None),
            release=self._release,
        )
        self._supervisors.add(supervisor)
        return Feed(supervisor)

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        event: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds all tries, and says what became of them
    ) -> Receipt:
        """Return the receipt of one message, published once however often it had to be sent.

        `data` is any JSON value; `bytes` are taken as ready JSON text and kept as they are. Several may be
        published at once: some 16 are on their way together, and others wait their turn. Their order is kept
        only where each is awaited before the next.

        Raises NotAcknowledged when there was no receipt within `timeout` seconds (None: the client's own);
        it says whether the message may have been published. Raises Refused (the server said no), BadAnswer
        (that is no Tidings server), and TypeError or ValueError for data that has no JSON.
        """
        if self._closed:
            raise RuntimeError("this client is closed")
        message = batches.check(channel, data, event, key, idempotency_key)
        within = self._timeout if timeout is None else _read_timeout(timeout)
        return await self._publishing.publish(message, within)

    def explain(self) -> str:
        """Return how all that it does stands, what was tried and why it fell, in plain words."""
        parts = [supervisor.explain() for supervisor in self._supervisors]
        return "\n".join(
            [f"{self._address.text}, {len(parts)} subscriptions", *parts, *self._publishing.trouble()]
        )

    async def aclose(self) -> None:
        """End all subscriptions and publishes, and close all connections."""
        self._closed = True
        self._publishing.close()
        try:
            await asyncio.gather(*(supervisor.aclose() for supervisor in self._supervisors))
        finally:
            await self._close_session()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._address)
        return self._session

    async def _release(self, supervisor: Supervisor) -> None:
        self._supervisors.discard(supervisor)

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _OfOneFeed(Client):
    """A client that is closed with its only subscription."""

    async def _release(self, supervisor: Supervisor) -> None:
        await super()._release(supervisor)
        await self._close_session()


def follow(
    url: str,
    channels: str | Sequence[str],
    *,
    transport: Transport | Literal["auto"] = "auto",
    token: Source | None = None,
    after: str | None = None,
    rewind: int | str | None = None,
    limit: int | None = None,
    interval: float | None = None,
    persist: bool = True,
    on_state: Callable[[State], None] | None = None,
) -> Feed:
    """Return a feed with a client of its own, for programs that follow one thing: as `connect` and
    `subscribe`.

    `channels` is one name, several with commas between, or a sequence of names.
    """
    client = _OfOneFeed(url, token=token, transports=None if transport == "auto" else (transport,))
    return client.subscribe(
        *read_channels(channels),
        after=after,
        rewind=rewind,
        limit=limit,
        interval=interval,
        persist=persist,
        on_state=on_state,
    )


def _read_transports(transports: Sequence[Transport] | None) -> tuple[str, ...]:
    if transports is None:
        return TRANSPORTS
    allowed = (transports,) if isinstance(transports, str) else tuple(dict.fromkeys(transports))
    if not allowed or not set(allowed) <= set(TRANSPORTS):
        raise ValueError(f"transports are some of {', '.join(TRANSPORTS)}, not {transports!r}")
    return allowed


def _read_timeout(seconds: float) -> float:
    if not 0 < seconds <= TIMEOUT_MOST:
        raise ValueError(
            f"a publish may take more than 0 and at most {TIMEOUT_MOST:g} seconds, not {seconds!r}"
        )
    return seconds
