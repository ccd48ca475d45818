"""Who takes part: Tidings, the floors, and the peers that can be had here.

Owns: finding the peers, making them ready, and the reasons why some are missing. Does not own: the peers
(bench/peers/), each module of which has its `SERVERS`.
Invariant: whoever does not take part is named with its reason, never silently left out.
"""

import importlib
from collections.abc import Callable, Sequence

from harness import servers
from harness.servers import Server

PEERS = ("nginx", "node", "python", "others", "floors")

TIDINGS = servers.TIDINGS.name
UVLOOP = servers.UVLOOP.name
C_LOOP = servers.c_loop().name
C_JOINED = servers.c_loop(join=8).name
NCHAN = "nginx with Nchan"
NCHAN_IDS = "nginx with Nchan, ids"
WS = "ws"
SOCKET_IO = "Socket.IO"
SOCKET_IO_RECOVERY = "Socket.IO, recovery"
STARLETTE = "Starlette on uvicorn"
PYTHON_SOCKET_IO = "python-socketio"
HELLO = "uvicorn, hello world"
C_RESPONDER = "C responder"

# Set up for one scenario that the plain one cannot take part in, or to show what joining is worth.
VARIANTS = (C_JOINED, NCHAN_IDS, SOCKET_IO_RECOVERY)

_OURS = (servers.TIDINGS, servers.c_loop(), servers.c_loop(join=8), servers.UVLOOP)


def table() -> tuple[list[Server], dict[str, str]]:
    """Return all servers, ours first, and for each module that cannot even be read its reason."""
    found, missing = list(_OURS), {}
    for name in PEERS:
        try:
            found += importlib.import_module(f"peers.{name}").SERVERS
        except Exception as error:  # a module that is broken is missing, whatever is wrong with it
            missing[f"peers/{name}.py"] = f"cannot be read: {error}"
    return found, missing


def ready(wanted: Sequence[Server], tell: Callable[[str], None]) -> tuple[list[Server], dict[str, str]]:
    """Return the servers that are installed and can be started, and the reasons of the others."""
    standing, missing = [], {}
    for server in wanted:
        tell(f"making {server.name} ready")
        try:
            server.prepare()
            with servers.running(server):
                pass
        except Exception as error:  # one server that cannot be had is no reason to stop
            missing[server.name] = str(error) or type(error).__name__
        else:
            standing.append(server)
    return standing, missing


def chosen(all_of: Sequence[Server], names: Sequence[str]) -> list[Server]:
    """Return those whose name contains one of `names` (case does not matter); all where there are none."""
    if not names:
        return list(all_of)
    wanted = [name.strip().lower() for name in names]
    return [server for server in all_of if any(name in server.name.lower() for name in wanted)]


def versions(standing: Sequence[Server]) -> dict[str, str]:
    """Return what each says it is."""
    said = {}
    for server in standing:
        try:
            said[server.name] = server.version()
        except Exception as error:  # only words
            said[server.name] = f"unknown: {error}"
    return said
