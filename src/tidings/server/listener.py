"""Sockets to listen on: TCP, TLS, a Unix socket or what was handed to us, with bounded kernel buffers.

Owns: binding, and accepting on what is bound. Does not own: who accepts (app.py), in how many processes
(workers.py).
"""

import errno
import os
import re
import socket
import ssl
import stat
import sys
from asyncio import AbstractEventLoop, AbstractServer, BaseProtocol
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.server.config import Settings, is_loopback, others_reach

_BACKLOG = 4096  # a storm of reconnects arrives faster than it is accepted
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # 25 on Linux; Python names it from 3.12 on


@dataclass(frozen=True, slots=True)
class Listening:
    """Sockets that are bound. `sockets` has those of each process that will accept on them.

    `path` is the file of a Unix socket that is ours to remove at the end.
    """

    sockets: Sequence[Sequence[socket.socket]]
    url: str
    loopback: bool
    path: str | None = None

    def listen(self) -> None:
        """Let the kernel take connections on all of them, and keep them until somebody accepts."""
        for sock in self._all():
            sock.listen(_BACKLOG)

    def close(self) -> None:
        """Listen no more."""
        for sock in self._all():
            sock.close()
        if self.path is not None:
            Path(self.path).unlink(missing_ok=True)

    def _all(self) -> set[socket.socket]:
        return {sock for group in self.sockets for sock in group}


def bind(settings: Settings, given: Sequence[socket.socket] = ()) -> Listening:
    """Return the sockets to listen on: those that were `given` to us, else the settings' own.

    For workers each has a TCP socket of its own at the same address, among which the kernel spreads
    connections. Raises SettingsError when the address cannot be had.
    """
    if given:
        return _given(settings, given)
    if settings.uds is not None:
        unix = _unix_socket(settings.uds)
        return Listening(
            [[unix]] * settings.workers, f"unix:{settings.uds}", loopback=False, path=settings.uds
        )
    sockets = _tcp_sockets(settings.host, settings.port, settings.workers)
    port = sockets[0][0].getsockname()[1]
    return Listening(sockets, _url(settings, settings.host, port), is_loopback(settings.host))


async def accept(
    loop: AbstractEventLoop,
    sockets: Sequence[socket.socket],
    settings: Settings,
    make: Callable[[], BaseProtocol],
) -> list[AbstractServer]:
    """Return servers that make a protocol for each connection that comes to `sockets`.

    Raises SettingsError when the certificate cannot be read.
    """
    tls = tls_arguments(settings)
    servers: list[AbstractServer] = []
    for sock in sockets:
        create: Any = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        servers.append(await create(make, sock=sock, backlog=_BACKLOG, **tls))
    return servers


def _given(settings: Settings, given: Sequence[socket.socket]) -> Listening:
    loopback = True
    url = ""
    for sock in given:
        sock.setblocking(False)
        if sock.family == socket.AF_UNIX:
            url = url or f"unix:{sock.getsockname()}"
            loopback = False
            continue
        host, port = sock.getsockname()[:2]
        if not is_loopback(host):
            loopback = False
            if not settings.open:
                raise others_reach(host)
        url = url or _url(settings, host, port)
        _bound_kernel_buffers(sock)
    return Listening([list(given)] * settings.workers, url, loopback)


def _url(settings: Settings, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}"


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # HTTP/1.1 only: a client that was offered h2 would speak it.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"The TLS certificate and key cannot be used: {error}.") from None
    return context


def tls_arguments(settings: Settings) -> dict[str, Any]:
    """Return what makes a server speak TLS, if it is to. Raises SettingsError for a bad certificate."""
    tls = _tls(settings)
    if tls is None:
        return {}
    # The loops' own, a minute and half a minute, would hold up a server that is to stop.
    return {
        "ssl": tls,
        "ssl_handshake_timeout": limits.HEAD_TIMEOUT,
        "ssl_shutdown_timeout": limits.CLOSE_GRACE,
    }


def _tcp_sockets(host: str, port: int, groups: int) -> list[list[socket.socket]]:
    """Return a socket for each of the host's addresses, `groups` times."""
    made: list[list[socket.socket]] = [[] for _ in range(groups)]
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if groups > 1 and port:
                # Sockets that share a port would share it with another server's, too, and in silence.
                _tcp_socket(family, kind, protocol, address, shares=False).close()
            for group in made:
                if port == 0 and made[0]:
                    address = (address[0], made[0][0].getsockname()[1], *address[2:])
                group.append(_tcp_socket(family, kind, protocol, address, shares=groups > 1))
    except OSError as error:
        for group in made:
            for sock in group:
                sock.close()
        advice = "If another server is there, choose another --port; 0 takes a free one."
        if error.errno == errno.EADDRNOTAVAIL:
            advice = "This machine has no such address: --host names one of its own, or 0.0.0.0 for all."
        raise SettingsError(f"Cannot listen on {host}:{port}: {error.strerror or error}. {advice}") from None
    return made


def _tcp_socket(family: int, kind: int, protocol: int, address: Any, *, shares: bool) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bound_kernel_buffers(listening)
        listening.setblocking(False)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def _bound_kernel_buffers(listening: socket.socket) -> None:
    """Set what accepted connections inherit."""
    # It bounds what the kernel holds for a client that does not read; without it megabytes go by
    # before we notice.
    listening.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, limits.UNSENT_IN_KERNEL)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that acknowledges nothing for so long is gone: half-open connections are found by
    # the first heartbeat they do not take.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.WRITE_TIMEOUT * 1000))


def _unix_socket(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A socket that a killed server left behind is in the way; anything else at this path is not ours.
        if stat.S_ISSOCK(Path(path).stat().st_mode) and not _answers(path):
            Path(path).unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    try:
        listening.setblocking(False)
        listening.bind(path)
    except OSError as error:
        listening.close()
        raise SettingsError(f"Cannot listen on {path}: {error.strerror or error}.") from None
    return listening


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


@cache
def sends_at_once() -> bool:
    """Return whether `Transport.write` sends before it returns: else bytes that are sent beside it overtake.

    asyncio's does, and uvloop's from 0.23 on.
    """
    uvloop = sys.modules.get("uvloop")
    return os.name == "posix" and (uvloop is None or _release(uvloop.__version__) >= (0, 23))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])
