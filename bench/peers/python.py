"""Python servers that a user would pick instead, in a virtual environment of their own.

Owns: bench/build/peers-venv, made from peers/python/requirements.txt, and the table of what is in it. Does
not own: the servers' settings (peers/python/start.py) and the applications beside it.
Invariant: what runs is what the requirements say.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from harness import build, servers
from harness.servers import LONG_POLLING, SSE, WEBSOCKET, Echo, Server

_HERE = Path(__file__).with_suffix("")
_REQUIREMENTS = _HERE / "requirements.txt"
_PLACE = build.BENCH / "build" / "peers-venv"
_INSTALLED = _PLACE / "installed.txt"


def prepare() -> None:
    """Install the requirements where they changed; raises RuntimeError with pip's words where that fails."""
    wanted = _REQUIREMENTS.read_text()
    if _INSTALLED.exists() and _INSTALLED.read_text() == wanted:
        return
    for command in (
        (sys.executable, "-m", "venv", "--clear", _PLACE),
        (_PLACE / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", _REQUIREMENTS),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the Python peers cannot be installed: {done.stderr.strip()}")
    _INSTALLED.write_text(wanted)


def version(*packages: str) -> str:
    """Return the packages' names and versions."""
    pinned = dict(line.split("==") for line in _REQUIREMENTS.read_text().splitlines() if "==" in line)
    return ", ".join(f"{package} {pinned[package]}" for package in packages)


def command(application: str, port: int, *options: str) -> Sequence[str]:
    """Return how an application of peers/python is started: MODULE:NAME."""
    return (
        str(_PLACE / "bin/python"),
        str(_HERE / "start.py"),
        application,
        *("--port", str(port), "--epoch", servers.tidings_epoch()),
        *options,
    )


_PATH = "/channels/bench{n}"
_PUBLISH = Echo(_PATH, send="{data}", expect='{"message":')
_NO_HISTORY = "keeps no history, resumes nothing"


def _server(
    name: str,
    application: str,
    targets: Mapping[str, str],
    note: str,
    packages: Sequence[str],
    *,
    options: Sequence[str] = (),
    echo: Echo | None = _PUBLISH,
    prefix: str = '{"message":',
    dialect: str = "plain",
) -> Server:
    return Server(
        name,
        lambda port: command(application, port, *options),
        targets,
        publish=_PATH,
        prefix=prefix,
        dialect=dialect,
        resume="none",
        echo=echo,
        note=note,
        prepare=prepare,
        version=partial(version, *packages),
    )


STARLETTE = _server(
    "Starlette on uvicorn",
    "starlette_web_sockets:in_turn",
    {WEBSOCKET: _PATH},
    f"{_NO_HISTORY}; a reader that stops holds up all",
    ("starlette", "uvicorn", "websockets"),
)
STARLETTE_GRANIAN = _server(
    "Starlette on granian",
    "starlette_web_sockets:together",
    {WEBSOCKET: _PATH},
    f"{_NO_HISTORY}; a reader that stops holds up all",
    ("starlette", "granian"),
    options=("--server", "granian"),
)
SSE_STARLETTE = _server(
    "sse-starlette",
    "sse_starlette_streams:app",
    {SSE: _PATH},
    f"{_NO_HISTORY}; queues without bounds",
    ("sse-starlette", "starlette", "uvicorn"),
    echo=None,
)
_SOCKET_IO = "/socket.io/?channel=bench{n}"
SOCKET_IO = _server(
    "python-socketio",
    "socket_io:app",
    {WEBSOCKET: _SOCKET_IO, LONG_POLLING: _SOCKET_IO},
    f"{_NO_HISTORY}; queues without bounds",
    ("python-socketio", "python-engineio", "uvicorn"),
    echo=Echo(
        f"{_SOCKET_IO}&EIO=4&transport=websocket",
        send='42["publish",{data}]',
        expect='42["message",',
        hello=("40",),
    ),
    prefix='42["message",',
    dialect="engineio",
)
DJANGO_CHANNELS = _server(
    "Django Channels",
    "django_channels:app",
    {WEBSOCKET: _PATH},
    f"{_NO_HISTORY}; a copy and a thread's turn for each delivery",
    ("channels", "Django", "uvicorn"),
)
LITESTAR = _server(
    "Litestar channels",
    "litestar_channels:app",
    {WEBSOCKET: _PATH, SSE: _PATH},
    f"{_NO_HISTORY}; queues without bounds",
    ("litestar", "uvicorn"),
)

SERVERS: tuple[Server, ...] = (
    STARLETTE,
    STARLETTE_GRANIAN,
    SSE_STARLETTE,
    SOCKET_IO,
    DJANGO_CHANNELS,
    LITESTAR,
)
