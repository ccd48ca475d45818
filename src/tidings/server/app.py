"""The running server: its parts put together, started, and stopped in order.

Owns: the life of a process. Settings stop here: inner parts take plain values.
"""

import asyncio
import contextlib
import gc
import logging
import random
import signal
import sys
import time
from asyncio import AbstractEventLoop

from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.patterns import Rules, SlowPolicy
from tidings.hub import Hub
from tidings.logs import open_log
from tidings.server.config import Settings, is_loopback
from tidings.server.connection import Connection
from tidings.server.listener import listen, remove_unix_socket
from tidings.server.reader import Questions
from tidings.server.routes import Routes
from tidings.server.wheel import Wheel

_log = logging.getLogger("tidings.server")


class App:
    """One server in one event loop. Make it inside the loop."""

    def __init__(self, settings: Settings, loop: AbstractEventLoop) -> None:
        settings.check()
        self.settings = settings
        self.loop = loop
        self.wheel = Wheel(loop)
        self.connections: set[Connection] = set()
        self.requests = 0
        self.questions = Questions()
        self.draining = False
        self.address = ""
        retention = Retention(settings.history_count, settings.history_age, settings.history_bytes)
        self._log = open_log(settings.log, retention)
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
            loopback=settings.uds is None and is_loopback(settings.host),
            max_age=Rules([(pattern, settings.public_cache) for pattern in settings.public], 0.0),
        )
        self._drain_seconds = limits.DRAIN if settings.drain is None else settings.drain
        self._servers: list[asyncio.AbstractServer] = []
        self._delivery: asyncio.Task[None] | None = None

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
        """Listen. `address` says where."""
        self._delivery = self.loop.create_task(self.hub.run())
        self._servers, self.address = await listen(self.loop, self.settings, lambda: Connection(self))
        self._housekeeping()
        # What is there now stays: the collector need not look at it again, and generation 2 then
        # costs tens of milliseconds with many connections.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    def _housekeeping(self, due: float = 0.0) -> None:
        if due:
            # How late this call is, smoothed: one long turn is not yet a load.
            self.hub.lag = 0.7 * self.hub.lag + 0.3 * max(0.0, self.loop.time() - due)
        self.hub.trim()
        due = self.loop.time() + limits.HOUSEKEEPING
        self.loop.call_at(due, self._housekeeping, due)

    async def serve_until(self, stop: asyncio.Event, now: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain; `now` cuts the draining short."""
        assert self._delivery is not None
        stopping = self.loop.create_task(stop.wait())
        done, _ = await asyncio.wait((stopping, self._delivery), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._delivery in done:
            self._delivery.result()  # the log ended by itself: its reason is raised
        await self._stop(now)

    async def _stop(self, now: asyncio.Event) -> None:
        """Refuse new work, spread the closes over the drain window, and give everything back."""
        self.draining = self.hub.closing = True
        for server in self._servers:
            server.close()
        window, step = self._drain_seconds, limits.DRAIN_STEP
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
        if self.settings.uds is not None:
            remove_unix_socket(self.settings.uds)

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
    settings.check()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_main(settings))


def _loop_factory() -> "type[AbstractEventLoop] | None":
    """Return uvloop's event loop where it is installed, else None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[AbstractEventLoop] = uvloop.Loop
    return loop


async def _main(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stop, now = asyncio.Event(), asyncio.Event()

    def stop_or_now() -> None:
        (now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_now)
    app = App(settings, loop)
    await app.start()
    # Not a log line: whoever started the server waits for it, whatever the log level.
    sys.stderr.write(f"tidings: listening on {app.address}\n")
    sys.stderr.flush()
    await app.serve_until(stop, now)
    _log.info("stopped")
    return 0
