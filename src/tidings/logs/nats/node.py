"""This process's part in the log: its connection, which comes back, and what is known of the stream.

Owns: opening, the pulse, coming back, and the step from one life to the next. Does not own: what is asked
over the link (append.py, follow.py, log.py).
Invariant: there is a link only while the stream was found over it to be in the life that is known here, or a
newer one, and not to have gone back.
"""

import asyncio
import logging
import random
import ssl
from asyncio import Task, get_running_loop
from typing import Final

import nats.errors

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.logs.nats.link import NO_ANSWER, UNAVAILABLE, ApiError, Link, LinkLost
from tidings.logs.nats.record import Arrival
from tidings.logs.nats.stream import State, Stream
from tidings.logs.nats.tail import Pull
from tidings.logs.nats.url import Place

BACK_OFF: Final = (0.05, limits.LOG_BACKOFF)  # seconds before coming back, the first and the longest
SPREAD: Final = 0.2  # seconds over which nodes that see the same begin a new life; one of them is enough
ELECTION: Final = 2.0  # seconds more where there are replicas: one that was the leader may still answer

_log = logging.getLogger("tidings.logs")


class Node:
    """A connection that is kept up, and the `life` and `head` that are known; `link` is None while away."""

    def __init__(self, place: Place, retention: Retention) -> None:
        self.place = place
        self.stream = Stream(place, retention)
        self.life = ""
        self.head = 0
        self.link: Link | None = None
        self.away_since: float | None = None
        self.pulls: set[Pull] = set()  # woken when another life begins
        self._servers = list(place.servers)
        self._up = asyncio.Event()  # there is a link, or the log is closed
        self._closed = asyncio.Event()
        self._went_back = False  # it is proven, so the next look begins another life
        self._checking = asyncio.Lock()
        self._running: Task[None] | None = None
        self._coming_back = False

    async def open(self) -> None:
        """See Log.open."""
        reason = "it does not answer"
        hopeless = 0
        try:
            async with asyncio.timeout(limits.LOG_OPEN_TIMEOUT):
                while self.link is None and hopeless < len(self._servers):
                    try:
                        await self._connect()
                    except (ApiError, LinkLost, OSError, RuntimeError, nats.errors.Error) as error:
                        reason = self.words(error)
                        hopeless += not _may_pass(error)
                        await asyncio.sleep(0.1)
        except TimeoutError:
            pass
        if self.link is None:
            raise SettingsError(
                f"The log at {self.place} cannot be used: {reason}. Look at the address, the user and its "
                "permissions, and that the server runs with JetStream."
            )
        self._running = get_running_loop().create_task(self._run(self.link))

    async def _connect(self) -> None:
        """Come to have a link over which the stream was found whole. Raises what stands in the way."""
        server = self._servers[0]
        self._servers.append(self._servers.pop(0))
        link = await Link.connect(self.place, server)
        try:
            if link.most_bytes < limits.LOG_RECORD_BYTES:
                raise SettingsError(
                    f"The NATS server's max_payload is under {limits.LOG_RECORD_BYTES} bytes."
                )
            state = await (self.stream.look(link) if self.life else self.stream.open(link))
            await self._settle(link, state, self.head)
        except BaseException as error:
            await link.close()
            if link.denied and isinstance(error, LinkLost):
                raise nats.errors.Error(link.denied) from None
            raise
        for other in link.others:
            if other not in self._servers and len(self._servers) < limits.NATS_SERVERS:
                self._servers.append(other)
        self.link = link
        self.away_since = None
        self._up.set()

    async def _run(self, link: Link) -> None:
        while True:
            await self._watch(link)
            self.link = None
            if self._closed.is_set():
                await link.close()
                return
            self._up.clear()
            self.away_since = link.heard
            _log.warning("log_away place=%s stream=%s", self.place, self.stream.name)
            await link.close()
            if self._closed.is_set():
                return
            try:
                self._coming_back = True
                link = await self._come_back()
            except asyncio.CancelledError:
                if self._closed.is_set():
                    return
                raise
            finally:
                self._coming_back = False
            _log.warning("log_back place=%s stream=%s epoch=%s", self.place, self.stream.name, self.life)

    async def _watch(self, link: Link) -> None:
        """Look at the stream again and again until the link is lost."""
        while not link.lost.done():
            await asyncio.wait([link.lost], timeout=limits.LOG_PULSE)
            try:
                await self.check(link)
            except LinkLost:
                link.drop()
            except (ApiError, SettingsError) as error:
                _log.warning("log_refused place=%s reason=%s", self.place, self.words(error))
                if not isinstance(error, ApiError) or error.number != NO_ANSWER:
                    link.drop()

    async def _come_back(self) -> Link:
        pause, longest = BACK_OFF
        while True:
            # Spread: all nodes lost the same server in the same moment.
            await asyncio.sleep(random.uniform(0.5, 1.0) * pause)  # noqa: S311  # spreading, no secret
            try:
                await self._connect()
            except (ApiError, LinkLost, OSError, RuntimeError, nats.errors.Error, SettingsError) as error:
                if pause == longest:
                    _log.info("log_still_away place=%s reason=%s", self.place, self.words(error))
                pause = min(longest, pause * 2)
            else:
                assert self.link is not None
                return self.link

    def words(self, error: Exception) -> str:
        """Return what an error says, on one line, if it holds nothing that is secret."""
        text = " ".join((str(error) or type(error).__name__).split())
        secrets = (self.place.password, self.place.token)
        return "it refused us" if any(s and s in text for s in secrets) else text[:300]

    async def check(self, link: Link) -> State:
        """Return how the stream is: `life` and `head` are true afterwards. Raises as Stream.look does."""
        async with self._checking:
            # An answer may be older than what is appended meanwhile.
            head, life = self.head, self.life
            state = await self.stream.look(link)
            if state.life == life and state.last >= head and not self._went_back:
                self._adopt(state)
                return state
            return await self._settle(link, state, head)

    async def _settle(self, link: Link, state: State, head: int) -> State:
        """Come to the life that the stream is in, which is a new one when it has gone back."""
        sure = False
        while self.life:
            moved = state.life != self.life
            whole = await self.stream.is_whole(link, self.life, state, head)
            if whole and (moved or not self._went_back):
                break
            if not sure:
                # All nodes find out at once. With several lives begun each would be true as well, but every
                # one of them costs every client a gap.
                spread = random.uniform(0.0, SPREAD)  # noqa: S311  # spreading, no secret
                await asyncio.sleep(spread + (ELECTION if self.place.replicas > 1 else 0.0))
                state, sure = await self.stream.look(link), True
                continue
            self._went_back = sure = False
            state = await self.stream.begin(link, state)
            _log.warning("log_went_back stream=%s from=%s to=%s", self.stream.name, self.life, state.life)
        self._adopt(state)
        return state

    def _adopt(self, state: State) -> None:
        self._went_back = False
        if state.life != self.life:
            if self.life:
                self.stream.leave(self.life)
            self.life, self.head = state.life, state.last
            # Whoever follows is told of it.
            for pull in self.pulls:
                pull.wake()
        self.head = max(self.head, state.last)
        self._see(state.last, state.last_ns)

    def _see(self, position: int, time_ns: int) -> None:
        if position > self.stream.seen[0]:
            self.stream.seen = (position, time_ns)

    def saw(self, life: str, arrival: Arrival) -> None:
        """A follower was brought a message of `life`."""
        if life == self.life:
            self.head = max(self.head, arrival.position)
            self._see(arrival.position, arrival.time_ns)

    def appended(self, life: str, position: int) -> None:
        if life == self.life:
            self.head = max(self.head, position)

    def doubt(self, *, proven: bool) -> None:
        """An answer does not fit what is known here: nothing more over this link before it was looked at."""
        self._went_back = self._went_back or proven
        if self.link is not None:
            self.link.drop()

    async def linked(self) -> Link | None:
        """Return the link when there is one; None when the log is closed."""
        while not self._closed.is_set():
            await self._up.wait()
            if self.link is not None and not self.link.lost.done():
                return self.link
            await asyncio.sleep(0.01)
        return None

    def stop(self) -> None:
        """Accept nothing more; `linked` returns None from here on."""
        self._closed.set()
        self._up.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._closed.is_set()

    async def close(self) -> None:
        """Give back what is held: the consumers, the connection, the task."""
        for pull in list(self.pulls):
            pull.close()
            pull.wake()
        link = self.link
        if self._running is not None and self._coming_back:
            self._running.cancel()
        if link is not None:
            await link.flush()
            link.drop()
        if self._running is not None:
            await asyncio.wait([self._running])


def _may_pass(error: Exception) -> bool:
    """Whether the same may succeed in a moment: a server that starts, or a cluster that has no leader yet."""
    if isinstance(error, ApiError):
        return error.number in (NO_ANSWER, UNAVAILABLE)
    return isinstance(error, LinkLost | OSError) and not isinstance(error, ssl.SSLError)
