"""The few words that are exchanged with systemd, or whoever starts services as it does.

Owns: the sockets that were handed over (sd_listen_fds), and what is told about our state (sd_notify).
Does not own: what is done with either. Without systemd's variables in the environment nothing happens here.
"""

import logging
import os
import socket
import time
from asyncio import AbstractEventLoop
from collections.abc import MutableMapping
from typing import Final

from tidings.core.errors import SettingsError

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_log = logging.getLogger("tidings.server")


class Service:
    """How we were started. The variables are taken out of `environment`: they are not for our children."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self.sockets = _given(environment)
        self._address = environment.pop("NOTIFY_SOCKET", "")
        every, whose = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = not whose or whose == str(os.getpid())
        # Twice as often as is asked for, as sd_watchdog_enabled(3) advises.
        self._watchdog = int(every) / 2e6 if every.isdigit() and ours else 0.0

    def ready(self, loop: AbstractEventLoop) -> None:
        """Say that clients are served, and from now on that the event loop turns."""
        self._tell("READY=1")
        if self._address and self._watchdog:
            self._alive(loop)

    def reloading(self, *, done: bool = False) -> None:
        """Say that a rolling restart begins, or is done."""
        self._tell("READY=1" if done else f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that we stop."""
        self._tell("STOPPING=1")

    def _alive(self, loop: AbstractEventLoop) -> None:
        self._tell("WATCHDOG=1")
        loop.call_later(self._watchdog, self._alive, loop)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode(), address)
        except OSError as error:
            # Who does not listen to us is no reason not to serve.
            _log.warning("notify_failed state=%s reason=%s", state.partition("\n")[0], error.strerror)


def _given(environment: MutableMapping[str, str]) -> list[socket.socket]:
    count, whose = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if not count or whose != str(os.getpid()):
        return []  # they were meant for whoever started us
    if not count.isdigit() or not 1 <= int(count) <= 64:
        raise SettingsError(f"LISTEN_FDS is 1 to 64 sockets here, not {count!r}.")
    sockets = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        try:
            os.set_inheritable(descriptor, False)
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            raise SettingsError(
                f"Descriptor {descriptor} of LISTEN_FDS is no socket: {error.strerror}."
            ) from None
        if sock.type != socket.SOCK_STREAM:
            raise SettingsError(f"Descriptor {descriptor} of LISTEN_FDS is not a stream socket.")
        sockets.append(sock)
    return sockets
