"""One worker: `python -m tidings.server.worker DESCRIPTOR`, started by its parent and by nobody else.

Owns: the life of this process, and what it does when the parent says so. Does not own: serving (app.py),
which is the same as in a server of one process; the parent's side (workers.py, child.py).

Invariant: when the parent is gone this process drains and ends by itself.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio import AbstractEventLoop, Event, Future, Task
from typing import Final

import msgspec

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.logs import Log
from tidings.logs.shared import SharedLog
from tidings.server.app import App
from tidings.server.config import Settings
from tidings.server.link import Link
from tidings.server.listener import Listening
from tidings.server.process import loop_factory
from tidings.server.siblings import Siblings
from tidings.wire import duty

_FIRST_REQUEST: Final = 0.1
_log = logging.getLogger("tidings.workers")


class Worker:
    """A worker at its end of the link."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._link: Link
        self._begin: Future[duty.Begin] = loop.create_future()
        self._accept = Event()
        self._stop = Event()
        self._now = Event()
        self._siblings = Siblings(loop, self._say)
        # Not there until the parent has said how, and what is said before they are is not for us yet.
        self._app: App | None = None
        self._task: Task[None] | None = None

    async def run(self, control: socket.socket) -> int:
        """Serve until the parent says otherwise, or is gone. Return the exit code."""
        self._link = await Link.over(control, self._loop, self._hear)
        await asyncio.wait((self._begin, self._link.ended), return_when=asyncio.FIRST_COMPLETED)
        if not self._begin.done():
            return 1
        begin = self._begin.result()
        settings = msgspec.json.decode(begin.settings, type=Settings)
        logging.basicConfig(
            level=settings.log_level.upper(),
            format=f"%(asctime)s %(levelname)s %(name)s worker={begin.number} %(message)s",
        )
        try:
            app = await self._start(settings, begin)
        except SettingsError as why:
            self._say(duty.Failed(str(why)))
            self._link.close()
            await self._link.ended
            return 2
        self._link.ended.add_done_callback(lambda _: self._stop.set())
        self._loop.add_signal_handler(signal.SIGTERM, self._say, duty.Asked())
        self._app = app
        self._report(app)
        self._say(duty.Ready())
        await self._accepted(app)
        await app.serve_until(self._stop, self._now)
        if self._task is not None:
            await self._task
        self._say(_counted(app))
        self._link.close()
        await self._link.ended
        return 0

    async def _start(self, settings: Settings, begin: duty.Begin) -> App:
        for descriptor in begin.sockets:
            os.set_inheritable(descriptor, False)
        sockets = [socket.socket(fileno=descriptor) for descriptor in begin.sockets]
        log: Log | None = None  # then it is an engine's, which each worker opens by itself
        if begin.log is not None:
            os.set_inheritable(begin.log, False)
            log = SharedLog(socket.socket(fileno=begin.log))
        app = App(
            settings,
            self._loop,
            log=log,
            listening=Listening([sockets], begin.url, begin.loopback),
            siblings=self._siblings,
        )
        await app.prepare()
        return app

    async def _accepted(self, app: App) -> None:
        """Accept connections when the parent says so, unless the end is told before."""
        told = [self._loop.create_task(event.wait()) for event in (self._accept, self._stop)]
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        for one in told:
            one.cancel()
        if self._accept.is_set():
            await app.accept()

    def _say(self, word: duty.Word) -> None:
        self._link.say(word)

    def _report(self, app: App) -> None:
        self._say(_counted(app))
        self._loop.call_later(limits.WORKER_REPORT, self._report, app)

    # --- what the parent says ---------------------------------------------------------------------

    def _hear(self, body: bytes) -> None:
        said = duty.order(body)
        app = self._app
        if isinstance(said, duty.Begin) and not self._begin.done():
            self._begin.set_result(said)
        elif app is None:
            pass
        elif isinstance(said, duty.Count):
            self._say(_counted(app))
        elif isinstance(said, duty.Others):
            self._siblings.take(said)
        elif isinstance(said, duty.Accept):
            self._accept.set()
        elif isinstance(said, duty.Quiet):
            app.hub.closing = True
            self._task = self._loop.create_task(self._quiet(app))
        elif isinstance(said, duty.Leave):
            before, self._task = self._task, self._loop.create_task(self._leave(app))
            if before is not None:
                before.cancel()
        elif isinstance(said, duty.Now):
            self._stop.set()
            self._now.set()

    async def _quiet(self, app: App) -> None:
        if isinstance(app.log, SharedLog):
            await app.log.settle()
        self._say(duty.Quieted())

    async def _leave(self, app: App) -> None:
        """Deliver all that the log has by now, and drain."""
        app.accept_no_more()
        # Who has just connected has its first request on the way.
        await asyncio.sleep(_FIRST_REQUEST)
        try:
            async with asyncio.timeout(limits.CLOSE_GRACE):
                if (asked := app.log.refresh()) is not None:
                    await asked
                while app.hub.position < app.log.head:  # noqa: ASYNC110  the hub tells nobody
                    await asyncio.sleep(0.002)
        except (Refusal, TimeoutError) as why:
            _log.warning("left_behind position=%d reason=%s", app.hub.position, type(why).__name__)
        self._stop.set()


def _counted(app: App) -> duty.Report:
    return duty.Report(*app.routes.admin.figures())


def main() -> int:
    """Work at the descriptor that the parent has given."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)

    async def work() -> int:
        return await Worker(asyncio.get_running_loop()).run(socket.socket(fileno=descriptor))

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work())


if __name__ == "__main__":
    sys.exit(main())
