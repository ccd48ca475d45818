"""Ports for the servers that tests start, stop and start again.

Below the range from which the kernel gives ports to clients, so that nobody else takes one while its server
is down; and below 22,768, so that the port 10,000 above it, where a node of a Redis cluster listens too, is
no client's either.

A port is bound only some time after it was drawn, and not at all between two lives of its server. So the
processes that run tests beside each other draw from different ports, and each draws none a second time until
it has drawn them all.
"""

import os
import socket
from collections.abc import Iterator
from itertools import cycle
from random import SystemRandom

_FIRST, _LAST = 10_000, 22_767
# Of 10,000 a divisor: what is 10,000 above a port belongs to the same process.
_PROCESSES = 8


def _drawn() -> Iterator[int]:
    """Yield this process's ports in an order of its own, for ever."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(_FIRST + process % _PROCESSES, _LAST + 1, _PROCESSES))
    SystemRandom().shuffle(ports)
    return cycle(ports)


_ports = _drawn()


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens at now."""
    found: list[int] = []
    while len(found) < count:
        port = next(_ports)
        if _is_free(port):
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
