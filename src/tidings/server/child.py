"""One worker, as its parent sees it: a process, a link to it, and what it last reported.

Owns: starting the process, and hearing that it ended. Does not own: when to do either (workers.py), what
happens inside (worker.py).

A worker is a new program, not a fork: event loops, threads and TLS contexts do not survive being copied,
and a rolling restart brings new code. It is given descriptors and, over the link, its settings.
"""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socket, socketpair
from typing import Final

import msgspec

from tidings.core.errors import SettingsError
from tidings.server.config import Settings
from tidings.server.link import Link
from tidings.server.listener import Listening
from tidings.wire import duty

_REAP_EVERY: Final = 0.01


class Child:
    """A worker. `ready` is done when it serves, or failed when it cannot; `ended` when its process is gone.

    `heard_of` is called with what it says besides.
    """

    def __init__(
        self, number: int, loop: AbstractEventLoop, heard_of: "Callable[[Child, duty.Word], None]"
    ) -> None:
        self.number = number
        self.counters: dict[str, float] = {}
        self.gauges: dict[str, float] = {}
        self.started = self.heard = loop.time()
        self.leaving = False
        self.ready: Future[None] = loop.create_future()
        self.quiet: Future[None] = loop.create_future()
        self.ended: asyncio.Task[int]
        self._loop = loop
        self._heard_of = heard_of
        self._link: Link
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def serves(self) -> bool:
        """Whether it is ready and has not ended."""
        return self.ready.done() and self.ready.exception() is None and not self.ended.done()

    async def start(
        self, settings: Settings, listening: Listening, sockets: Sequence[socket], log: socket | None
    ) -> None:
        """Start the process; what it is given stays open here, `log` excepted."""
        ours, theirs = socketpair()
        descriptors = [sock.fileno() for sock in sockets]
        given = [theirs.fileno(), *descriptors, *([] if log is None else [log.fileno()])]
        self._process = _spawn(theirs.fileno(), given)
        theirs.close()
        self._link = await Link.over(ours, self._loop, self._hear)
        self.ended = self._loop.create_task(self._wait())
        self._link.say(
            duty.Begin(
                self.number,
                msgspec.json.encode(settings),
                descriptors,
                None if log is None else log.fileno(),
                listening.url,
                listening.loopback,
            )
        )
        if log is not None:
            log.close()

    def say(self, order: duty.Order) -> None:
        """Tell it something."""
        self._link.say(order)

    def leave(self) -> None:
        """Let it drain and end."""
        self.leaving = True
        self.say(duty.Leave())

    def kill(self) -> None:
        """End it without a word."""
        if not self.ended.done():
            self._process.kill()

    async def _wait(self) -> int:
        # Its end of the link closes with it, a moment before its exit code can be had.
        await self._link.ended
        while (code := self._process.poll()) is None:  # noqa: ASYNC110  nothing else tells
            await asyncio.sleep(_REAP_EVERY)
        if not self.ready.done():
            self.ready.set_exception(
                SettingsError(f"A worker ended before it was ready, with exit code {code}.")
            )
        if not self.quiet.done():
            self.quiet.set_result(None)
        return code

    def _hear(self, body: bytes) -> None:
        said = duty.word(body)
        self.heard = self._loop.time()
        if isinstance(said, duty.Report):
            self.counters, self.gauges = said.counters, said.gauges
        elif isinstance(said, duty.Ready) and not self.ready.done():
            self.ready.set_result(None)
        elif isinstance(said, duty.Failed) and not self.ready.done():
            self.ready.set_exception(SettingsError(said.why))
        elif isinstance(said, duty.Quieted) and not self.quiet.done():
            self.quiet.set_result(None)
        self._heard_of(self, said)


def _spawn(link: int, given: Sequence[int]) -> "subprocess.Popen[bytes]":
    # -P and our own search path: it must find the same program, and not one in the current folder.
    search = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    # A terminal's Ctrl-C goes to all processes of its group. Only the parent acts on it; blocked here, it is
    # blocked in the worker from its first instruction on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(  # noqa: S603  ourselves, with a number
            [sys.executable, "-P", "-m", "tidings.server.worker", str(link)],
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
