"""The running server: its parts put together, started, and stopped in order.

Owns: the life of one server in one event loop. Does not own: the process around it (process.py), or how many
there are (workers.py). Settings stop here: inner parts take plain values.
"""

import asyncio
import contextlib
import gc
import logging
import random
import time
from asyncio import AbstractEventLoop
from collections import Counter, deque

from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.patterns import Rules, SlowPolicy
from tidings.hub import Hub
from tidings.logs import Log, open_log
from tidings.server.config import Settings, is_loopback
from tidings.server.connection import Connection
from tidings.server.listener import Listening, accept, bind
from tidings.server.reader import Questions
from tidings.server.routes import Routes
from tidings.server.siblings import Siblings
from tidings.server.wheel import Wheel

_log = logging.getLogger("tidings.server")


class App:
    """One server in one event loop. Make it inside the loop.

    `log` and `listening` are the settings' own unless they are given; both are closed at the end.
    `siblings` are the other workers, where there are any.
    """

    def __init__(
        self,
        settings: Settings,
        loop: AbstractEventLoop,
        *,
        log: Log | None = None,
        listening: Listening | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        settings.check()
        self.settings = settings
        self.loop = loop
        self.wheel = Wheel(loop)
        self.connections: set[Connection] = set()
        self.requests = 0
        self.refusals: Counter[str] = Counter()  # by code
        self.questions = Questions()
        self.draining = False
        self.address = ""
        retention = Retention(settings.history_count, settings.history_age, settings.history_bytes)
        self._log = log or open_log(settings.log, retention, partitions=settings.partitions)
        self._listening = listening
        self.siblings = siblings
        self.hub = Hub(
            self._log,
            retention,
            clock=time.time,
            monotonic=loop.time,
            soon=loop.call_soon,
            slow=Rules(settings.slow, SlowPolicy.RESUME),
        )
        self.routes = Routes(
            self,
            frozenset(settings.origins),
            loopback=listening.loopback if listening else settings.uds is None and is_loopback(settings.host),
            max_age=Rules([(pattern, settings.public_cache) for pattern in settings.public], 0.0),
            static=settings.static,
        )
        self._drain_seconds = limits.DRAIN if settings.drain is None else settings.drain
        self._servers: list[asyncio.AbstractServer] = []
        self._delivery: asyncio.Task[None] | None = None
        self._told_deaf = False
        # How late the last calls of `_housekeeping` were, in seconds.
        self._late = deque([0.0] * limits.LAG_LOOKS, limits.LAG_LOOKS)

    @property
    def log(self) -> Log:
        """The log that is served."""
        return self._log

    @property
    def full(self) -> bool:
        """Whether there are more connections than the limit: the one that asks is too many."""
        return len(self.connections) > self.settings.connections

    def unix_seconds(self) -> int:
        """Return the time for a Date header."""
        return int(time.time())

    def retry_ms(self) -> int:
        """Return when a client that is turned away should come back, spread so that not all come at once."""
        return random.randint(1_000, 5_000)  # noqa: S311  jitter, not a secret

    async def start(self) -> None:
        """Prepare, and accept connections. `address` says where."""
        await self.prepare()
        await self.accept()

    async def accept(self) -> None:
        """Accept connections, from here on."""
        assert self._listening is not None
        sockets = self._listening.sockets[0]
        self._servers = await accept(self.loop, sockets, self.settings, lambda: Connection(self))

    async def prepare(self) -> None:
        """Do all that comes before the first connection."""
        await self._log.open()
        self._delivery = self.loop.create_task(self.hub.run())
        await self._followed()
        self._listening = self._listening or bind(self.settings)
        self.address = self._listening.url
        self._housekeeping()
        # What is there now stays: the collector need not look at it again, and generation 2 then
        # costs tens of milliseconds with many connections.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    async def _followed(self) -> None:
        """Wait until what the log keeps is here: whoever comes from now on is told only what is new."""
        assert self._delivery is not None
        while self.hub.arrivals.loading:
            if self._delivery.done():
                self._delivery.result()
                return
            await asyncio.sleep(limits.DRAIN_STEP)

    @property
    def log_away(self) -> float:
        """For how many seconds the log has not been heard; 0 while it is."""
        since = self._log.away_since
        return 0.0 if since is None else max(self.loop.time() - since, 0.001)

    @property
    def log_refusing(self) -> str:
        """Why nothing can be published, though the log is heard; else empty."""
        return self._log.refusing

    @property
    def log_lag(self) -> int:
        """How many positions this node is behind what it knows of the log."""
        return max(0, self._log.head - self.hub.position)

    @property
    def deaf(self) -> bool:
        """Whether new streams are better begun at another node: this one has not heard its log for long."""
        return self.log_away > limits.LOG_AWAY_ADVICE

    def _housekeeping(self, due: float = 0.0) -> None:
        if due:
            self._late.append(max(0.0, self.loop.time() - due))
            self.hub.lag = min(self._late)
        self.hub.trim()
        self._listen_for_the_log()
        due = self.loop.time() + limits.HOUSEKEEPING
        self.loop.call_at(due, self._housekeeping, due)

    def _listen_for_the_log(self) -> None:
        """Say to streaming clients that this node hears nothing, and in the end send them elsewhere.

        They would wait for ever otherwise, at a node that looks well: a node may fall behind, but is
        never silently deaf.
        """
        away = self.log_away
        within_ms = int((limits.LOG_AWAY_CLOSE - limits.LOG_AWAY_ADVICE) * 1000)
        if away <= limits.LOG_AWAY_ADVICE:
            self._told_deaf = False
        elif not self._told_deaf:
            self._told_deaf = True
            _log.warning("the log has not been heard for %.0f s; streams are told to look elsewhere", away)
            for connection in self.connections:
                connection.advise({"reconnect_within_ms": within_ms})
        if away > limits.LOG_AWAY_CLOSE:
            for connection in list(self.connections):
                connection.send_away(within_ms, "log_unavailable")

    async def serve_until(self, stop: asyncio.Event, now: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain; `now` cuts the draining short."""
        assert self._delivery is not None
        stopping = self.loop.create_task(stop.wait())
        done, _ = await asyncio.wait((stopping, self._delivery), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._delivery in done:
            self._delivery.result()  # the log ended by itself: its reason is raised
        await self._stop(now)

    def accept_no_more(self) -> None:
        """Leave new connections to others that listen at the same address, if there are any."""
        for server in self._servers:
            server.close()

    async def _stop(self, now: asyncio.Event) -> None:
        """Refuse new work, spread the closes over the drain window, and give everything back."""
        self.draining = self.hub.closing = True
        self.accept_no_more()
        window, step = self._drain_seconds, limits.DRAIN_STEP
        if self.connections:
            _log.info(
                "stopping connections=%d within_s=%g; told once more it stops at once",
                len(self.connections),
                window,
            )
        deadline = self.loop.time() + window + limits.CLOSE_GRACE
        leaving = list(self.connections)
        random.shuffle(leaving)
        within_ms = int(max(window, 1.0) * 1000)
        steps = max(1, round(window / step))
        count = len(leaving)
        waiting: list[Connection] = []
        for number in range(steps):
            if number and await _set_within(now, step):
                break
            await self._deliver_all()
            share = leaving[-(-number * count // steps) : -(-(number + 1) * count // steps)]
            # Who cannot leave yet is asked again at each step.
            waiting = [connection for connection in waiting + share if not connection.drain(within_ms)]
            if not self.connections:
                break
        while self.connections and self.loop.time() < deadline and not await _set_within(now, step):
            await self._deliver_all()
            for connection in list(self.connections):
                connection.drain(within_ms)
        for connection in list(self.connections):
            connection.abort()
        await self._log.close()
        if self._delivery is not None:
            await self._delivery
        if self._listening is not None:
            self._listening.close()

    async def _deliver_all(self) -> None:
        """Wait until all that was appended has been written to who is live: what was acknowledged is sent."""
        for _ in range(100):
            if self.hub.position >= self._log.head:
                return
            await asyncio.sleep(0)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def run(settings: Settings) -> int:
    """Serve in this thread until SIGTERM or SIGINT; a second one stops at once. Return the exit code.

    Raises SettingsError before anything is started when the settings do not fit together.
    """
    from tidings.server import process  # which has an App itself

    return process.run(settings)
