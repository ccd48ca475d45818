"""The servers that can be measured: how each is started, and how one talks to it.

Owns: the table. Does not own: the measurement. A peer is one more entry: its command, the transports it
speaks, its paths, and what its messages look like where a WebSocket also carries other frames.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from harness import build, processes
from harness.engines import NO_ENGINE, Engine, in_memory

WEBSOCKET = "websocket"
SSE = "sse"
LONG_POLLING = "long-polling"
POLLING = "polling"

_START_TIMEOUT = 15.0
_epochs: dict[str, str] = {}


@dataclass(frozen=True)
class Echo:
    """How a WebSocket of this server publishes, and hears what it published.

    `target` is the path, `send` the frame that publishes, both with `{n}` for the connection's number;
    `{data}` in `send` is the message's JSON. `expect` begins every frame that counts as the round trip's end.
    `hello` are the frames that subscribe, where the path does not.
    """

    target: str
    send: str
    expect: str
    hello: Sequence[str] = ()


@dataclass(frozen=True)
class Server:
    """One server of the table.

    `targets` is the path to subscribe at, by transport; `{n}` in it is the channel's number where there are
    several. `prefix` begins every WebSocket message that counts; "" counts all data frames. `hello` is a text
    frame that subscribes, where the path does not. `extra_size` is what the server's messages lack of our
    envelope, in bytes: so much more is published on it, so that all deliver as many. `dialect` is what a
    client must say and understand besides (the generator's --dialect): "plain" is nothing, and `resume` what
    a client begins from when it asks again or comes back (its --resume). `echo` is there where a WebSocket
    can publish. `note` says in the tables what the server does less or otherwise. `prepare` installs what it
    needs, and raises RuntimeError with the reason where that cannot be had here. `version` says what it is,
    once it is installed. `beside` starts the engine that keeps its log, and `cores` are those that it may
    use: the load's own, too, where the scenario knows what that does.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    targets: Mapping[str, str]
    publish: str = "/channels/bench"
    content_type: str = "application/json"
    prefix: str = '{"message":'
    hello: str = ""
    extra_size: int = 0
    dialect: str = "plain"
    resume: str = "cursor"
    echo: Echo | None = None
    note: str = ""
    prepare: Callable[[], None] = lambda: None
    version: Callable[[], str] = lambda: ""
    headers: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: Callable[[], AbstractContextManager[Engine]] = in_memory
    cores: Sequence[int] = processes.CORES[:1]


@dataclass(frozen=True)
class Running:
    """A server that answers on `port`."""

    server: Server
    process: subprocess.Popen[bytes]
    port: int
    engine: Engine = NO_ENGINE

    @property
    def pid(self) -> int:
        """The process at the root of its tree."""
        return self.process.pid


_CHANNEL = "/channels/bench{n}"
_STREAMS = {WEBSOCKET: _CHANNEL, SSE: _CHANNEL}
_ALL = {**_STREAMS, LONG_POLLING: f"{_CHANNEL}?wait=55", POLLING: _CHANNEL}

TIDINGS = Server(
    "Tidings",
    lambda port: (sys.executable, "-m", "tidings", "serve", "--port", str(port), "--log-level", "warning"),
    _ALL,
    publish=_CHANNEL,
    echo=Echo("/channels/echo{n}", '{"publish":{"channel":"echo{n}","data":{data}}}', expect='{"message":'),
    version=lambda: metadata.version("tidings"),
    environment=build.SOURCES,
)
TIDINGS_WORKERS = replace(
    TIDINGS,
    name="Tidings, 2 workers",
    command=lambda port: (*TIDINGS.command(port), "--workers", "2"),
    note="two processes and their parent",
    cores=processes.CORES,
)
UVLOOP = Server(
    "bare uvloop loop",
    lambda port: (
        sys.executable,
        str(build.BENCH / "floor_uvloop.py"),
        "--port",
        str(port),
        "--epoch",
        tidings_epoch(),
    ),
    _STREAMS,
    publish=_CHANNEL,
    note="keeps nothing",
    version=lambda: f"uvloop {metadata.version('uvloop')}",
)


def c_loop(join: int = 1, epoch: str | None = None) -> Server:
    """Return the C floor, which sends up to `join` messages of a turn in one send.

    Its ids begin with `epoch`; None is one as long as Tidings' own.
    """
    return Server(
        "C loop, one by one" if join == 1 else f"C loop, joined by {join}",
        lambda port: (
            str(build.program("floor")),
            "--port",
            str(port),
            "--join",
            str(join),
            "--epoch",
            epoch or tidings_epoch(),
        ),
        _ALL,
        publish=_CHANNEL,
        note="keeps nothing",
    )


def tidings_epoch() -> str:
    """Return an epoch as long as Tidings' own, so that the floors send as many bytes; asked of it once."""
    if "epoch" not in _epochs:
        with running(TIDINGS) as here:
            url = f"http://127.0.0.1:{here.port}/channels/bench0"
            with urllib.request.urlopen(url, timeout=5) as answer:
                _epochs["epoch"] = json.load(answer)["cursor"].rpartition("-")[0]
    return _epochs["epoch"]


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start the server on a free port and wait until it accepts; kill it at the end.

    Raises RuntimeError with the server's own words where it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.NamedTemporaryFile(prefix="bench-") as talk, server.beside() as engine:
        command = (*server.command(port), *engine.words)
        with processes.stopping(
            processes.start_server(command, server.environment, Path(talk.name), server.cores)
        ) as process:
            until = time.monotonic() + _START_TIMEOUT
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > until:
                        said = Path(talk.name).read_text(errors="replace").strip()
                        raise RuntimeError(f"{server.name} does not start: {said or 'no word'}") from None
                    time.sleep(0.05)
            yield Running(server, process, port, engine)
