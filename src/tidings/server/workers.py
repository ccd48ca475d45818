"""The parent of workers: all cores of one machine, and no engine.

Owns: the listening sockets, the log that the workers share, which workers there are, and the order in which
all ends. Does not own: what one worker is (child.py, worker.py), clients: the parent serves none.

The sockets are the parent's, so that a worker may die without a connection being refused: what comes to its
socket waits for the next one. A log in this process or in a file is the parent's, too, and handed on
(logs/sharing.py); Redis and NATS each worker opens itself.

Invariant: after the start there are as many workers as were asked for, or a replacement is on its way.
"""

import asyncio
import contextlib
import gc
import logging
import random
import socket
from asyncio import AbstractEventLoop, Event, Future, Task
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.logs import open_log
from tidings.logs.base import Log
from tidings.logs.shared import Sharing
from tidings.server.child import Child
from tidings.server.config import Settings
from tidings.server.figures import Figures
from tidings.server.listener import bind, tls_arguments
from tidings.server.systemd import Service
from tidings.wire import duty

_log = logging.getLogger("tidings.workers")

_SHARED: Final = ("memory", "sqlite")
_LIVED: Final = 10.0  # a worker that lived for so long did not die of its start
_FIRST_PAUSE: Final = 0.2
_MEANT_FOR_ALL: Final = 0.1


class Parent:
    """Runs workers until it is told to stop. Make it inside the loop."""

    def __init__(self, settings: Settings, loop: AbstractEventLoop, service: Service) -> None:
        tls_arguments(settings)  # raises here what each worker would find out by itself
        self._settings = settings
        self._loop = loop
        self._service = service
        self._listening = bind(settings, service.sockets)
        # For all together: a worker takes its share, the kernel spreads connections evenly enough.
        share = -(-settings.connections // settings.workers)
        self._theirs = msgspec.structs.replace(settings, workers=1, connections=share)
        self._log: Log | None = None
        self._sharing: Sharing | None = None
        self._children: dict[int, Child] = {}
        self._living: set[Child] = set()
        self._figures = Figures(loop)
        self._tasks: set[Task[None]] = set()
        self._accepting = False
        self._stopping = False
        self._rolling = False

    @property
    def address(self) -> str:
        """Where clients connect to, as a URL."""
        return self._listening.url

    async def start(self, stop: Event) -> None:
        """Start all workers; return when they serve, or when `stop` is set.

        Raises SettingsError when one of them cannot start.
        """
        if self._settings.log.partition("://")[0] in _SHARED:
            retention = Retention(
                self._settings.history_count, self._settings.history_age, self._settings.history_bytes
            )
            self._log = open_log(self._settings.log, retention)
            await self._log.open()
            self._sharing = Sharing(self._log, self._loop)
        for number in range(1, self._settings.workers + 1):
            self._children[number] = await self._start(number)
        try:
            async with asyncio.timeout(limits.WORKER_START):
                await self._all_ready(stop)
        except TimeoutError:
            raise SettingsError(f"A worker was not ready within {limits.WORKER_START:g} seconds.") from None
        if not stop.is_set():
            self._accept()
        gc.collect()
        gc.freeze()
        for number in self._children:
            self._own(self._keep(number))
        self._own(self._watch())

    def _accept(self) -> None:
        """Let all workers take connections, from the same moment on.

        The kernel spreads connections over the sockets that listen: were each to begin when it is ready, the
        first would get all who wait for a restarted server, and keep them.
        """
        self._listening.listen()
        self._accepting = True
        for child in self._living:
            child.say(duty.Accept())

    async def _all_ready(self, stop: Event) -> None:
        told = self._loop.create_task(stop.wait())
        waiting: set[Future[Any]] = {child.ready for child in self._living}
        try:
            while waiting and not told.done():
                done, _ = await asyncio.wait({*waiting, told}, return_when=asyncio.FIRST_COMPLETED)
                for ready in done & waiting:
                    ready.result()
                waiting -= done
        finally:
            told.cancel()

    async def serve_until(self, stop: Event, now: Event) -> None:
        """Keep the workers going until `stop` is set, then let all drain; `now` cuts that short."""
        told = self._loop.create_task(stop.wait())
        tail = () if self._sharing is None else (self._sharing.tail,)
        await asyncio.wait((told, *tail), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        await self._stop(now)
        for ended in tail:
            if ended.done() and not ended.cancelled():
                ended.result()  # the log ended by itself: its reason is raised

    def roll(self) -> None:
        """Replace the workers, one by one, each when the next is ready: a new certificate, or new code."""
        if not self._rolling and not self._stopping:
            self._own(self._roll())

    async def close(self) -> None:
        """Give everything back, and end at once whoever is still there."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for child in self._living:
            child.kill()
        await asyncio.gather(*(child.ended for child in self._living))
        if self._sharing is not None:
            await self._sharing.close()
        if self._log is not None:
            await self._log.close()
        self._listening.close()

    # --- the workers ------------------------------------------------------------------------------

    async def _start(self, number: int) -> Child:
        child = Child(number, self._loop, self._hear)
        theirs: socket.socket | None = None
        if self._sharing is not None:
            ours, theirs = socket.socketpair()
            await self._sharing.attach(ours)
        await child.start(self._theirs, self._listening, self._listening.sockets[number - 1], theirs)
        self._living.add(child)
        child.ready.add_done_callback(lambda _: self._ready(child))
        child.ended.add_done_callback(lambda _: self._gone(child))
        return child

    def _ready(self, child: Child) -> None:
        if child.serves and self._accepting:
            child.say(duty.Accept())

    def _gone(self, child: Child) -> None:
        self._living.discard(child)
        self._figures.gone(child)

    def _hear(self, child: Child, said: duty.Word) -> None:
        if isinstance(said, duty.Report):
            self._figures.reported(child)
        elif isinstance(said, duty.Gather):
            self._figures.gather(child, [other for other in self._living if other is not child])
        elif isinstance(said, duty.Asked) and not self._stopping and not child.leaving:
            _log.info("worker_leaves number=%d pid=%d", child.number, child.pid)
            child.leaving = True
            self._own(self._asked_to_leave(child.number))

    async def _keep(self, number: int) -> None:
        """Start a worker anew whenever it has ended; at once where it had lived for a while."""
        pause = 0.0
        while True:
            child = self._children[number]
            code = await asyncio.shield(child.ended)
            if self._stopping:
                return
            if self._children[number] is not child:
                continue  # it was replaced before it left
            _log.warning("worker_ended number=%d pid=%d code=%d", number, child.pid, code)
            lived = self._loop.time() - child.started
            pause = 0.0 if lived > _LIVED else min(limits.WORKER_BACKOFF, max(_FIRST_PAUSE, 2 * pause))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
            if self._children[number] is child:
                self._children[number] = await self._start(number)

    async def _replace(self, number: int) -> bool:
        """Start another worker beside the one that is there, and let that one leave when it is ready."""
        old, new = self._children[number], await self._start(number)
        await asyncio.wait((new.ready,), timeout=limits.WORKER_START)
        if not new.serves:
            _log.error("worker_not_replaced number=%d pid=%d", number, old.pid)
            new.kill()
            old.leaving = False
            return False
        self._children[number] = new
        old.leave()
        await asyncio.wait((old.ended,), timeout=self._patience())
        old.kill()
        return True

    async def _asked_to_leave(self, number: int) -> None:
        # Service managers tell every process of a service to stop: then we are told, too.
        await asyncio.sleep(_MEANT_FOR_ALL)
        if not self._stopping:
            await self._replace(number)

    async def _roll(self) -> None:
        self._rolling = True
        self._service.reloading()
        try:
            for number in list(self._children):
                if not await self._replace(number):
                    return
        finally:
            self._rolling = False
            self._service.reloading(done=True)

    async def _watch(self) -> None:
        """End workers whose event loop stands still, and those that do not become ready."""
        while True:
            before = self._loop.time()
            await asyncio.sleep(limits.WORKER_REPORT)
            now = self._loop.time()
            if now - before > 2 * limits.WORKER_REPORT:
                # We were late ourselves, or the machine slept: what they said is still to be read.
                for child in self._living:
                    child.heard = now
            for child in list(self._living):
                most = limits.WORKER_SILENCE if child.serves else limits.WORKER_START
                if now - child.heard > most:
                    _log.error("worker_silent number=%d pid=%d", child.number, child.pid)
                    child.kill()

    def _own(self, work: Coroutine[Any, Any, Any]) -> None:
        def ended(task: Task[Any]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("parent_failed", exc_info=error)

        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    # --- the end ----------------------------------------------------------------------------------

    def _patience(self) -> float:
        drain = limits.DRAIN if self._settings.drain is None else self._settings.drain
        return drain + 2 * limits.CLOSE_GRACE + limits.LOG_TIMEOUT

    async def _stop(self, now: Event) -> None:
        self._stopping = True
        self._listening.close()
        for child in self._living:
            if not child.serves:
                child.kill()
        # First nobody publishes any more, and all that was published has its number; then each worker
        # delivers up to there before it lets its clients go. So what was acknowledged is delivered, whoever
        # had taken it.
        self._tell(duty.Quiet())
        await self._wait([child.quiet for child in self._living], limits.LOG_TIMEOUT, now)
        for child in self._living:
            child.leave()
        await self._wait([child.ended for child in self._living], self._patience(), now)
        self._tell(duty.Now())
        await self._wait([child.ended for child in self._living], limits.CLOSE_GRACE, Event())

    def _tell(self, order: duty.Order) -> None:
        for child in self._living:
            child.say(order)

    async def _wait(self, wanted: "list[Any]", seconds: float, now: Event) -> None:
        if not wanted or now.is_set():
            return
        hurry = self._loop.create_task(now.wait())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                waiting = set(wanted)
                while waiting and not hurry.done():
                    done, _ = await asyncio.wait({*waiting, hurry}, return_when=asyncio.FIRST_COMPLETED)
                    waiting -= done
        hurry.cancel()
