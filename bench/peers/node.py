"""Node.js servers that a user would pick instead, in a folder of their own.

Owns: peers/node/node_modules, installed as package-lock.json says, and the table of what is in it. Does not
own: how each serves (peers/node/*.js). Invariant: what runs is what the lock file says.

Settings that suit them: NODE_ENV=production, compression off, TCP_NODELAY, heartbeats every 25 s (Faye holds
its connects for 45 s); ws with bufferutil; Socket.IO keeps no first request; SockJS ends no stream for its
length.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from harness import servers
from harness.servers import LONG_POLLING, SSE, WEBSOCKET, Echo, Server

XHR_STREAMING = "xhr-streaming"

_HERE = Path(__file__).with_suffix("")
_LOCK = _HERE / "package-lock.json"
_INSTALLED = _HERE / "node_modules" / "installed.json"
_INSTALL_SECONDS = 180


def prepare() -> None:
    """Install what the lock file says, where it changed; raises RuntimeError with npm's words."""
    wanted = _LOCK.read_text()
    if _INSTALLED.exists() and _INSTALLED.read_text() == wanted:
        return
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise RuntimeError(f"the Node.js peers need {program}, and it is not installed")
    try:
        done = subprocess.run(
            ("npm", "ci", "--no-progress", "--loglevel=error"),
            cwd=_HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"npm did not end within {_INSTALL_SECONDS} s") from None
    if done.returncode:
        raise RuntimeError(f"the Node.js peers cannot be installed: {done.stderr.strip()}")
    _INSTALLED.write_text(wanted)


def version(*packages: str) -> str:
    """Return the packages' names and versions, and Node.js'."""
    installed = json.loads(_LOCK.read_text())["packages"]
    named = [f"{package} {installed[f'node_modules/{package}']['version']}" for package in packages]
    node = subprocess.run(("node", "--version"), capture_output=True, text=True, check=True).stdout.strip()
    return ", ".join((*named, f"Node.js {node.removeprefix('v')}"))


_NO_HISTORY = "keeps no history, resumes nothing"


def _server(
    name: str,
    script: str,
    targets: Mapping[str, str],
    note: str,
    packages: Sequence[str],
    *,
    options: Sequence[str] = (),
    prefix: str = '{"message":',
    hello: str = "",
    dialect: str = "plain",
    resume: str = "none",
    echo: Echo | None = None,
) -> Server:
    return Server(
        name,
        lambda port: (
            "node",
            str(_HERE / script),
            *("--port", str(port), "--epoch", servers.tidings_epoch()),
            *options,
        ),
        targets,
        publish="/channels/bench{n}",
        prefix=prefix,
        hello=hello,
        dialect=dialect,
        resume=resume,
        echo=echo,
        note=note,
        prepare=prepare,
        version=partial(version, *packages),
        environment={"NODE_ENV": "production"},
    )


_SOCKET_IO = "/socket.io/?channel=bench{n}"
_socket_io = partial(
    _server,
    script="socket_io.js",
    targets={WEBSOCKET: _SOCKET_IO, LONG_POLLING: _SOCKET_IO},
    packages=("socket.io", "ws", "bufferutil"),
    prefix='42["message",',
    dialect="engineio",
    echo=Echo(
        f"{_SOCKET_IO}&EIO=4&transport=websocket",
        send='42["publish",{data}]',
        expect='42["message",',
        hello=("40",),
    ),
)

WS = _server(
    "ws",
    "ws.js",
    {WEBSOCKET: "/channels/bench{n}"},
    f"{_NO_HISTORY}; its buffers have no bounds",
    ("ws", "bufferutil"),
    echo=Echo("/channels/bench{n}", send="{data}", expect='{"message":'),
)
SOCKET_IO = _socket_io("Socket.IO", note=f"{_NO_HISTORY}; its buffers have no bounds")
SOCKET_IO_RECOVERY = _socket_io(
    "Socket.IO, recovery",
    note="resumes within two minutes, from a history without bounds; so has each message an offset",
    options=("--recovery",),
    resume="cursor",
)
SOCKJS = _server(
    "SockJS",
    "sockjs.js",
    dict.fromkeys((WEBSOCKET, SSE, XHR_STREAMING), "/sockjs/bench{n}"),
    f"{_NO_HISTORY}; its buffers have no bounds; a message is text in JSON",
    ("sockjs", "faye-websocket"),
    dialect="sockjs",
)
FAYE = _server(
    "Faye",
    "faye.js",
    {WEBSOCKET: "/bayeux"},
    f"{_NO_HISTORY}; its buffers have no bounds",
    ("faye", "faye-websocket"),
    prefix="",
    hello="/bench{n}",
    dialect="faye",
)

SERVERS: tuple[Server, ...] = (WS, SOCKET_IO, SOCKET_IO_RECOVERY, SOCKJS, FAYE)
