"""Sockets to listen on: TCP, TLS or a Unix socket, with bounded kernel buffers."""

import os
import re
import socket
import ssl
import stat
import sys
from asyncio import AbstractEventLoop, AbstractServer, BaseProtocol
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.server.config import Settings

_BACKLOG = 4096  # a storm of reconnects arrives faster than it is accepted
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # 25 on Linux; Python names it from 3.12 on


async def listen(
    loop: AbstractEventLoop, settings: Settings, make: Callable[[], BaseProtocol]
) -> tuple[list[AbstractServer], str]:
    """Return servers that make a protocol for each connection, and their address as a URL.

    Raises SettingsError when the address cannot be had or the certificate not be read.
    """
    tls = _tls(settings)
    if settings.uds is not None:
        unix = await loop.create_unix_server(
            make, sock=_unix_socket(settings.uds), backlog=_BACKLOG, **_tls_arguments(tls)
        )
        return [unix], f"unix:{settings.uds}"
    sockets = _tcp_sockets(settings.host, settings.port)
    servers = [
        await loop.create_server(make, sock=s, backlog=_BACKLOG, **_tls_arguments(tls)) for s in sockets
    ]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return list(servers), f"{'https' if tls else 'http'}://{host}:{sockets[0].getsockname()[1]}"


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


def _tls_arguments(tls: ssl.SSLContext | None) -> dict[str, Any]:
    if tls is None:
        return {}
    # The loops' own, a minute and half a minute, would hold up a server that is to stop.
    return {
        "ssl": tls,
        "ssl_handshake_timeout": limits.HEAD_TIMEOUT,
        "ssl_shutdown_timeout": limits.CLOSE_GRACE,
    }


def _tcp_sockets(host: str, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if sockets and port == 0:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Accepted connections inherit both. The first bounds what the kernel holds for a client
            # that does not read; without it megabytes go by before we notice.
            listening.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, limits.UNSENT_IN_KERNEL)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A peer that acknowledges nothing for so long is gone: half-open connections are found by
            # the first heartbeat they do not take.
            timeout_ms = int(limits.WRITE_TIMEOUT * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
            listening.setblocking(False)
            listening.bind(address)
    except OSError as error:
        for listening in sockets:
            listening.close()
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. "
            "If another server is there, choose another --port; 0 takes a free one."
        ) from None
    return sockets


def _unix_socket(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A socket that a killed server left behind is in the way; anything else at this path is not ours.
        if stat.S_ISSOCK(Path(path).stat().st_mode) and not _answers(path):
            remove_unix_socket(path)
    except FileNotFoundError:
        pass
    try:
        listening.setblocking(False)
        listening.bind(path)
    except OSError as error:
        listening.close()
        raise SettingsError(f"Cannot listen on {path}: {error.strerror or error}.") from None
    return listening


def remove_unix_socket(path: str) -> None:
    """Take the socket's file away; nobody listens there any more."""
    Path(path).unlink(missing_ok=True)


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
