"""Ports for the servers that tests start, stop and start again.

Below the range from which the kernel gives ports to clients, so that nobody else takes one while its server
is down; and below 22,768, so that the port 10,000 above it, where a node of a Redis cluster listens too, is
no client's either.
"""

import socket
from random import SystemRandom

_FIRST, _LAST = 10_000, 22_767


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens at now."""
    found: list[int] = []
    while len(found) < count:
        port = SystemRandom().randint(_FIRST, _LAST)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def free_port() -> int:
    """Return a port that nobody listens at now."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
