"""The running part of a subscription: it gets through, stays, comes back, and finds a better transport.

Owns: its links and when there is another; its task, and theirs. Does not own: how a transport waits (link.py
and the four behind it), which comes first (choice.py), how long to wait (backoff.py), the cursor (place.py).
Invariant: one link at a time hands on what it reads; the cursor and what was put into the buffer move
together, with nothing awaited between, so a link may be cancelled at any moment.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from tidings.client.ask import Ask, as_cut
from tidings.client.backoff import Backoff, hint
from tidings.client.buffer import Buffer
from tidings.client.choice import Choice
from tidings.client.errors import BadAnswer, Cut, Refused, Unreachable
from tidings.client.items import Advice, Message, Sign
from tidings.client.link import Link
from tidings.client.state import State, StateName
from tidings.client.trace import Trace
from tidings.client.upgrade import Upgrade

# What a transport has before the next one is begun beside it. The second and third are given less: whoever
# got here has waited already, and is to have a message within five seconds.
HEAD_START: Final = {"websocket": 2.5, "sse": 2.0, "long-polling": 2.0, "polling": 2.0}
# A connection that was good for so long begins the backoff anew.
STEADY: Final = 10.0
# How often it is looked whether the machine has slept.
TICK: Final = 5.0
# The wall clock has gone so much further than the loop's own: that is sleep, in which the loop's stands
# still.
SLEPT: Final = 5.0
# The server's word that the token has expired.
TOKEN_EXPIRED: Final = 4001

wall = time.time


class Supervisor:
    """One subscription at work. `release` is awaited when it has ended, perhaps twice."""

    def __init__(
        self,
        ask: Ask,
        choice: Choice,
        session: Callable[[], aiohttp.ClientSession],
        *,
        persist: bool,
        on_state: Callable[[State], None],
        release: Callable[["Supervisor"], Awaitable[None]],
    ) -> None:
        """Take what is to be followed; nothing happens before `start`."""
        self.buffer = Buffer()
        self.buffer.cursor = ask.place.cursor
        self.state = State("idle", choice.transports[0])
        self.trace = Trace()
        self._ask = ask
        self._choice = choice
        self._session = session
        self._persist = persist
        self._on_state = on_state
        self._release = release
        self._backoff = Backoff()
        self._upgrade = Upgrade()
        self._task: asyncio.Task[None] | None = None
        self._links: set[Link] = set()
        self._live: Link | None = None
        self._better: Link | None = None
        self._news = asyncio.Event()
        self._reached = False
        self._clocks = (0.0, 0.0)

    # --- from outside ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow, in the running event loop; once is enough."""
        if self._task is None and not self.buffer.ended:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def abandon(self) -> None:
        """End it soon; may be called from any thread, and at any time."""
        if self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def aclose(self) -> None:
        """End it, and wait until nothing of it is left."""
        self.buffer.end()
        self.buffer.clear()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        # Once more for a task that was cancelled before it began, and for one that never was.
        await self._release(self)

    def explain(self) -> str:
        """Return how it stands, and what was tried before, in plain words."""
        head = f"{', '.join(self._ask.channels)}: {self.state}"
        return "\n".join([head, *(f"  {line}" for line in self.trace.lines())])

    # --- the loop ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        failure: Exception | None = None
        try:
            await self._follow()
        except asyncio.CancelledError:
            self._tell("idle", reason="closed")
            raise
        except Exception as why:
            failure = why
            self.trace.say(f"failed: {why}")
            self._tell("failed", reason=str(why))
        finally:
            self.buffer.end(failure)
            # Where it was cancelled while it dropped the losers of a race, the winner is still there.
            await self._drop_all()
            await self._release(self)

    async def _follow(self) -> None:
        while True:
            try:
                await self._fetch_token()
                await self._get_through()
                cut = await self._stay()
            except Cut as why:
                cut = why
                if not self._reached and not self._persist and (why.unreachable or why.transport_failed):
                    raise Unreachable(self._ask.address.text, why.reason) from None
            wait = self._backoff.next(cut.wait)
            if cut.code == TOKEN_EXPIRED:
                self._ask.token.refused(self._ask.bearer)
            self.trace.say(f"{cut.reason.rstrip('.')}; again in {wait:.1f} s")
            lost: StateName = "recovering" if self._reached else "connecting"
            self._tell("offline" if cut.unreachable else lost, cut.reason, wait)
            await asyncio.sleep(wait)

    async def _fetch_token(self) -> None:
        try:
            await self._ask.token.get()
        except Exception as why:
            cut = as_cut(why)
            if cut is None:
                raise
            raise Cut(f"no token could be had: {cut.reason}", transport_failed=False) from why

    def _is_live(self) -> bool:
        return self._live is not None

    # --- getting through ---------------------------------------------------------------------------

    async def _get_through(self) -> None:
        """Begin one transport after the other until one is live.

        Raises Cut when all of them failed, or the server is away or says so itself, and what ends a
        subscription.
        """
        transports = self._choice.order(_now())
        due = _now()
        last: Exception = Cut("no transport is allowed")
        try:
            while not self._is_live():
                if transports and (not self._links or _now() >= due):
                    transport = transports.pop(0)
                    due = _now() + HEAD_START[transport]
                    self._tell("recovering" if self._reached else "connecting", transport=transport)
                    self._begin(transport)
                elif not self._links:
                    raise last
                await self._news_until(due if transports else None)
                if self._is_live():
                    return
                for link in [link for link in self._links if link.done]:
                    self._links.discard(link)
                    if link.failure is not None:
                        last, due = self._judged(link, link.failure), _now()
        finally:
            await self._drop_all(but=self._live)

    def _judged(self, link: Link, failure: Exception) -> Exception:
        """Return a failure that another transport may not meet; raise any other."""
        self.trace.say(f"{link.transport}: {failure}")
        match failure:
            case Cut(transport_failed=True):
                return failure
            case Refused() if failure.code.startswith("http-") or failure.code == "upgrade_required":
                # Not the server's own word: a proxy's, or the server's about a proxy that took the Upgrade
                # out.
                return failure
            case BadAnswer() if self._reached:
                # What was a Tidings server before is one still: something on the way answers for it.
                return Cut(str(failure))
            case _:
                raise failure

    def _begin(self, transport: str) -> Link:
        link = Link(
            transport, self._session(), self._ask, claim=self._claim, take=self._take, ended=self._news.set
        )
        self._links.add(link)
        self.trace.say(f"{transport}: trying")
        return link

    def _claim(self, link: Link) -> bool:
        """Make `link` the live one, where there is none or it is the better one; say whether it is."""
        if self._live is not None and link is not self._better:
            return False
        if self._live is not None:
            self._live.cancel()
        self._live = link
        self._reached = True
        self._ask.place.begin()
        self._backoff.connected()
        self._choice.worked(link.transport, _now())
        self.trace.say(f"{link.transport}: live")
        self._tell("live", transport=link.transport)
        self._news.set()
        return True

    # --- staying -----------------------------------------------------------------------------------

    async def _stay(self) -> Cut:
        """Return why the live connection was cut; raises what ends a subscription."""
        self._clocks = (wall(), _now())
        self._upgrade.plan(_now())
        try:
            while self._live is not None and not self._live.done:
                due = self._look_for_better(self._live)
                await self._news_until(min(due, _now() + TICK))
                if self._slept():
                    return Cut("this machine slept", transport_failed=False)
            live = self._live
            assert live is not None
            return self._after(live)
        finally:
            self._live = self._better = None
            await self._drop_all()

    def _after(self, live: Link) -> Cut:
        """Return the Cut that ended `live`; raise any other failure."""
        failure = live.failure
        if not isinstance(failure, Cut):
            raise failure or Cut("the connection ended")
        if live.lived >= STEADY:
            self._backoff.reset()
        # What the server says itself is no clock on the way.
        if failure.code is None and self._choice.lived(live.transport, live.lived):
            self.trace.say(f"{live.transport}: was cut at the same age as before; another is tried first")
        return failure

    def _look_for_better(self, live: Link) -> float:
        """Begin a better transport beside the live one when its time has come; return when to look again."""
        if self._better is not None and self._better is live:
            self._better = None
        if self._better is not None:
            if not self._better.done:
                return _now() + TICK
            self.trace.say(f"{self._better.transport}: {self._better.failure}")
            self._links.discard(self._better)
            self._better = None
        better = self._choice.better(live.transport)
        # Without a cursor yet, the two would not begin at the same place.
        if not better or self._ask.place.cursor is None:
            return _now() + TICK
        transport = self._upgrade.next(better, _now())
        if transport is not None:
            self._better = self._begin(transport)
        return self._upgrade.due

    def _slept(self) -> bool:
        """Say whether the machine slept since the last look: then the connection only looks open."""
        before, self._clocks = self._clocks, (wall(), _now())
        return (self._clocks[0] - before[0]) - (self._clocks[1] - before[1]) > SLEPT

    # --- what the links say ------------------------------------------------------------------------

    async def _take(self, link: Link, sign: Sign) -> None:
        if isinstance(sign, Advice):
            self._heed(sign)
            return
        # First the room, then all at once: a link that is cancelled while it waits has taken nothing.
        await self.buffer.room()
        if link is not self._live:
            return
        item = self._ask.place.take(sign)
        if item is None:
            self.buffer.move(self._ask.place.cursor)
            return
        self.buffer.put(item, self._ask.place.cursor)
        if isinstance(item, Message):
            self._backoff.reset()

    def _heed(self, advice: Advice) -> None:
        if advice.poll_ms is not None:
            self._ask.advised = hint(advice.poll_ms)
        self._backoff.advise(retry_ms=advice.retry_ms, reconnect_within_ms=advice.reconnect_within_ms)
        self._choice.advise(advice.transport)

    # --- small things ------------------------------------------------------------------------------

    async def _news_until(self, deadline: float | None) -> None:
        """Wait until a link got through or ended, until `deadline` at the latest."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _drop_all(self, but: Link | None = None) -> None:
        """Cancel all links but this one, and wait for their end."""
        dropped = [link for link in self._links if link is not but]
        self._links = set() if but is None else {but}
        for link in dropped:
            link.cancel()
        if dropped:
            await asyncio.wait([link.task for link in dropped])

    def _tell(
        self, name: StateName, reason: str = "", wait: float = 0.0, *, transport: str | None = None
    ) -> None:
        self.state = State(name, transport or self._choice.order(_now())[0], reason, wait)
        self._on_state(self.state)


def _now() -> float:
    return asyncio.get_running_loop().time()
