"""A server as a process: its event loop, its signals, its exit code; alone, or as the parent of workers.

Owns: what the process hears and says. Does not own: serving (app.py), workers (workers.py).
"""

import asyncio
import logging
import os
import signal
import sys
from asyncio import AbstractEventLoop, Event
from collections.abc import Callable

from tidings.core.errors import SettingsError
from tidings.server import descriptors
from tidings.server.app import App
from tidings.server.config import Settings
from tidings.server.listener import bind
from tidings.server.systemd import Service
from tidings.server.workers import Parent

_log = logging.getLogger("tidings.server")


def run(settings: Settings) -> int:
    """Serve in this thread until SIGTERM or SIGINT; a second one stops at once. Return the exit code.

    Raises SettingsError before anything is started when the settings do not fit together.
    """
    settings.check()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # At debug it would write the frames of clients, and what they say is theirs.
    logging.getLogger("websockets").setLevel(logging.INFO)
    settings = descriptors.provide(settings)
    service = Service(os.environ)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run((_alone if settings.workers == 1 else _with_workers)(settings, service))


def loop_factory() -> "type[AbstractEventLoop] | None":
    """Return uvloop's event loop where it is installed, else None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[AbstractEventLoop] = uvloop.Loop
    return loop


async def _alone(settings: Settings, service: Service) -> int:
    loop = asyncio.get_running_loop()
    # A terminal that closes, or a reload: all are told before the end. Under nohup it stays ignored.
    hang_up = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL else ()
    stop, now = _signals(loop, service, *hang_up)
    listening = bind(settings, service.sockets)
    try:
        app = App(settings, loop, listening=listening)
        await app.start()
    except SettingsError:
        listening.close()
        raise
    _listens(app.address, service, loop)
    await app.serve_until(stop, now)
    _log.info("stopped")
    return 0


async def _with_workers(settings: Settings, service: Service) -> int:
    loop = asyncio.get_running_loop()
    stop, now = _signals(loop, service)
    parent = Parent(settings, loop, service)
    try:
        await parent.start(stop)
        if not stop.is_set():
            loop.add_signal_handler(signal.SIGHUP, parent.roll)
            _listens(parent.address, service, loop)
        await parent.serve_until(stop, now)
    finally:
        await parent.close()
    _log.info("stopped")
    return 0


def _signals(loop: AbstractEventLoop, service: Service, *more: signal.Signals) -> tuple[Event, Event]:
    """Return what the first SIGTERM, SIGINT or one of `more` sets, and what the second."""
    stop, now = Event(), Event()

    def stop_or_now() -> None:
        if stop.is_set():
            now.set()
        else:
            service.stopping()
            stop.set()

    handler: Callable[[], None] = stop_or_now
    for number in (signal.SIGTERM, signal.SIGINT, *more):
        loop.add_signal_handler(number, handler)
    return stop, now


def _listens(address: str, service: Service, loop: AbstractEventLoop) -> None:
    # Not a log line: whoever started the server waits for it, whatever the log level.
    sys.stderr.write(f"tidings: listening on {address}\n")
    sys.stderr.flush()
    service.ready(loop)
