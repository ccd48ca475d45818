"""Following channels: the one loop behind all four transports.

Owns: the cursor, what has been had already, when to connect again, and which transport to take. Does not own:
how a transport waits (polling.py, long_polling.py, sse.py, web_socket.py).
Invariant: everything up to `cursor` was handed out, or told as a gap; nothing above it was.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self, get_args

import aiohttp

from tidings.client import long_polling, polling, sse, web_socket
from tidings.client.address import read_address, read_channels
from tidings.client.ask import Ask, as_cut, open_session
from tidings.client.errors import Cut, Refused, Unreachable
from tidings.client.items import Advice, Gap, Message, Reached, Ready, Sign
from tidings.wire import cursor as cursors

Transport = Literal["auto", "websocket", "sse", "long-polling", "polling"]

BACKOFF_BASE: Final = 0.3
BACKOFF_CAP: Final = 20.0
# Until the first sign of life. The automatic choice goes on to the next transport after the shorter one, and
# doubles it with every round, for networks on which none is that quick.
FIRST_SIGN: Final = 10.0
FIRST_SIGN_AUTO: Final = 2.5
# Failures in a row, none plainly the transport's own, after which the automatic choice goes on all the same.
STRIKES: Final = 3
# A connection that was good for so long begins the backoff anew.
STEADY: Final = 5.0
# The longest hint of the server that is followed.
HINT_MOST: Final = 300.0


_Receive = Callable[[aiohttp.ClientSession, Ask], AsyncGenerator[Sign, None]]

# In the order in which the automatic choice tries them.
_TRANSPORTS: Final[dict[str, _Receive]] = {
    "websocket": web_socket.receive,
    "sse": sse.receive,
    "long-polling": long_polling.receive,
    "polling": polling.receive,
}


@dataclass(frozen=True, slots=True)
class State:
    """How the connection stands, told whenever it changes.

    `connecting`; `connected`; `waiting` (cut, for `reason`; tries again in `wait` seconds over `transport`).
    """

    name: Literal["connecting", "connected", "waiting"]
    transport: str
    reason: str = ""
    wait: float = 0.0


def follow(
    url: str,
    channels: str | Sequence[str],
    *,
    transport: Transport = "auto",
    after: str | None = None,
    rewind: int | str | None = None,
    limit: int | None = None,
    interval: float | None = None,
    persist: bool = True,
    on_state: Callable[[State], None] | None = None,
) -> "Feed":
    """Return a feed of these channels' messages and gaps: iterate over it with `async for`.

    Where to begin: `after` a cursor, or after="earliest"; or `rewind` by a number of messages (20) or a
    time ("30s"); with neither, from now on. `limit` is the most messages in one answer of a poll, and
    `interval` seconds between two polls; without one, they come as the server advises.

    It ends only by an error, or when it is closed. A cut connection is begun again where it ended, for ever;
    with persist=False, `Unreachable` is raised where none of the transports got through even once. Use it as
    an async context manager where leaving the loop shall close the connection at once.

    Raises BadAddress and Refused at once; Refused, BadAnswer, Unreachable while iterating.
    """
    if transport not in get_args(Transport):
        raise ValueError(f"transport is one of {', '.join(get_args(Transport))}, not {transport!r}")
    if after is not None and rewind is not None:
        raise ValueError("after and rewind both say where to begin; give one of them")
    if interval is not None and not interval > 0:
        raise ValueError("interval is seconds, more than 0")
    ask = Ask(
        read_address(url),
        read_channels(channels),
        after=after,
        rewind=None if rewind is None else str(rewind),
        limit=limit,
        interval=interval,
    )
    return Feed(ask, transport, persist=persist, on_state=on_state or (lambda _: None))


class Feed:
    """The messages and gaps of some channels, in order, each once. One task may iterate over it.

    Cancelling an iteration closes the feed; `cursor` then says where another one may go on.
    """

    def __init__(
        self, ask: Ask, transport: Transport, *, persist: bool, on_state: Callable[[State], None]
    ) -> None:
        """Take what `follow` has checked; nothing is connected before the first iteration."""
        self._ask = ask
        self._persist = persist
        self._on_state = on_state
        self._order = tuple(_TRANSPORTS) if transport == "auto" else (transport,)
        self._at = 0
        self._rounds = 0
        self._strikes = 0
        # Where the cursor goes once a group of gaps is complete.
        self._behind_gaps: str | None = None
        # Gaps told since the last message: a stream cut among them tells them again.
        self._told: set[Gap] = set()
        self._failures = 0
        # The server's hints, in seconds: the window for coming back, and one for the next time only.
        self._window = BACKOFF_BASE
        self._within: float | None = None
        self._advised: int | None = None
        self._items = self._run()

    @property
    def cursor(self) -> str | None:
        """Everything up to here was handed out; None: nothing is known yet. Give it as `after=`."""
        return self._ask.after if self._ask.after != "earliest" else None

    @property
    def transport(self) -> str:
        """The transport in use, or the one that is tried next."""
        return self._order[self._at]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. The feed has ended then; its `cursor` stays."""
        await self._items.aclose()

    async def _run(self) -> AsyncGenerator[Message | Gap, None]:
        reached = False
        async with open_session(self._ask.address) as session:
            while True:
                transport = self.transport
                since: float | None = None
                self._behind_gaps = None
                self._on_state(State("connecting", transport))
                try:
                    async with aclosing(self._signs(session, transport)) as signs:
                        async for sign in signs:
                            if since is None and not isinstance(sign, Advice):
                                since = _now()
                                reached = True
                                self._strikes = self._rounds = 0
                                self._on_state(State("connected", transport))
                            item = self._take(sign)
                            if item is not None:
                                yield item
                except Refused as no:
                    if since is not None or not self._may_be_the_way(no):
                        raise
                    cut = Cut(str(no))
                except Cut as why:
                    cut = why
                gave_up = cut.unreachable or (cut.transport_failed and self._at + 1 == len(self._order))
                if gave_up and not reached and not self._persist:
                    raise Unreachable(self._ask.address.text, cut.reason)
                wait = self._next(cut, lived=None if since is None else _now() - since)
                self._on_state(State("waiting", self.transport, cut.reason, wait))
                await asyncio.sleep(wait)

    async def _signs(self, session: aiohttp.ClientSession, transport: str) -> AsyncGenerator[Sign, None]:
        """Yield what a transport says; every way of being cut becomes a Cut, a late first sign too."""
        patience: float | None = FIRST_SIGN
        if len(self._order) > 1:
            patience = min(FIRST_SIGN_AUTO * 2**self._rounds, BACKOFF_CAP)
        async with aclosing(_TRANSPORTS[transport](session, self._ask)) as signs:
            while True:
                try:
                    async with asyncio.timeout(patience):
                        sign = await anext(signs)
                except Exception as why:
                    cut = as_cut(why)
                    if cut is None:
                        raise
                    raise cut from why
                if not isinstance(sign, Advice):
                    patience = None
                yield sign

    def _take(self, sign: Sign) -> Message | Gap | None:
        """Move the cursor by one sign; return what is to be handed out, None where there is nothing new."""
        match sign:
            case Message():
                self._settle()
                if self._had(sign.id):
                    return None
                self._ask.after = sign.id
                self._told.clear()
                self._failures = 0
                return sign
            case Gap():
                if sign.reason != "retention":
                    # Several may come at once, one a channel: what follows all of them begins at the
                    # smallest.
                    self._behind_gaps = _smaller(self._behind_gaps, sign.resumed)
                if sign in self._told:
                    return None
                self._told.add(sign)
                return sign
            case Reached():
                # Not backwards, but where the cursor is from a future or a life of the log that is no more.
                if self._behind_gaps is not None or not self._had(sign.cursor):
                    self._ask.after = sign.cursor
                self._behind_gaps = None
            case Ready():
                if sign.cursor is not None and self.cursor is None:
                    self._ask.after = sign.cursor
            case Advice():
                self._heed(sign)
        return None

    def _settle(self) -> None:
        """Move behind a group of gaps. Not at the gap itself: a cut among them must find the old cursor."""
        if self._behind_gaps is not None:
            self._ask.after = self._behind_gaps
            self._behind_gaps = None

    def _had(self, cursor: str) -> bool:
        """Say whether what `cursor` names was handed out before."""
        mine = cursors.decode(self._ask.after or "")
        its = cursors.decode(cursor)
        return (
            mine is not None and its is not None and mine.epoch == its.epoch and its.position <= mine.position
        )

    def _heed(self, advice: Advice) -> None:
        if advice.poll_ms is not None:
            self._ask.advised = _seconds(advice.poll_ms)
        if advice.retry_ms is not None:
            self._window = _seconds(advice.retry_ms)
        if advice.reconnect_within_ms is not None:
            self._within = _seconds(advice.reconnect_within_ms)
        if advice.transport in self._order:
            # For the next connection; this one is good as long as it lasts.
            self._advised = self._order.index(advice.transport)

    def _may_be_the_way(self, no: Refused) -> bool:
        """Say whether a proxy on this transport's way is what failed, and another may get through."""
        # `upgrade_required` is the server's own word for a proxy that took the Upgrade out.
        by_proxy = no.code.startswith("http-") or no.code == "upgrade_required"
        return by_proxy and self._at + 1 < len(self._order)

    def _next(self, cut: Cut, *, lived: float | None) -> float:
        """Choose the transport to go on with; return the seconds to wait before that.

        `lived` is how long the connection was good; None: it never gave a sign of life.
        """
        if lived is not None and lived > STEADY:
            self._failures = 0
        if lived is None and not cut.unreachable:
            self._strikes += 1
            if cut.transport_failed or self._strikes >= STRIKES:
                self._strikes = 0
                self._at += 1
                if self._at < len(self._order):
                    return 0.0
                self._at = 0
                self._rounds += 1
        elif self._advised is not None:
            self._at = self._advised
            self._advised = None
        window = min(self._window * 2**self._failures, BACKOFF_CAP)
        self._failures = min(self._failures + 1, 16)
        if self._within is not None:
            window, self._within = self._within, None
        # Full jitter: clients that were cut together must not come back together.
        return (cut.wait or 0.0) + random.uniform(0.0, window)  # noqa: S311 - no secret


def _now() -> float:
    return asyncio.get_running_loop().time()


def _seconds(ms: float) -> float:
    """Return a hint in seconds, kept between what would hammer the server and what would seem dead."""
    return min(max(ms / 1000, 0.05), HINT_MOST)


def _smaller(one: str | None, other: str) -> str:
    """Return the cursor that comes first; of two that cannot be compared, the one that was told first."""
    if one is None:
        return other
    first, second = cursors.decode(one), cursors.decode(other)
    if first is None or second is None or first.epoch != second.epoch:
        return one
    return one if first.position <= second.position else other
