"""The engines that keep a log: Redis, NATS, and files, each new, in a folder of its own.

Owns: starting one for a measurement, on the load's core, ending it, and loading it without a server. Does
not own: what is asked of it.
The servers are started as the tests do it (tests/engines), whose folder must be there.
Invariant: an engine starts empty, and nothing of it is left.
"""

import json
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import build, processes

sys.path.append(str(build.BENCH.parent / "tests"))


@dataclass(frozen=True)
class Engine:
    """Where a log is kept, and which process keeps it; `pid` is 0 where the server does so itself."""

    url: str
    pid: int = 0

    @property
    def words(self) -> Sequence[str]:
        """What the server's command line says of it."""
        return ("--log", self.url) if self.url else ()


NO_ENGINE: Final = Engine("")


@contextmanager
def _folder() -> Iterator[Path]:
    # Beside the programs, and not where temporary files are: that may be memory, where a sync costs nothing.
    within = build.BENCH / "build"
    within.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="engine-", dir=within, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def in_memory() -> Iterator[Engine]:
    """No engine: whatever the server does by itself."""
    yield NO_ENGINE


@contextmanager
def sqlite(durability: str) -> Iterator[Engine]:
    """A file, `synced` or `stored`."""
    with _folder() as folder:
        yield Engine(f"sqlite:///{folder}/log.db?durability={durability}")


@contextmanager
def redis(appendfsync: str) -> Iterator[Engine]:
    """Redis with an append-only file, synced `everysec` or `always`."""
    from engines.redis import PROGRAM, RedisServer

    if PROGRAM is None:
        raise RuntimeError("there is no redis-server on PATH")
    with _folder() as folder:
        server = RedisServer(folder, f"appendfsync {appendfsync}")
        try:
            server.start()
            yield Engine(server.url(), server.pid)
        finally:
            server.kill()


@contextmanager
def nats() -> Iterator[Engine]:
    """NATS with JetStream, which keeps its streams in files."""
    from engines.nats import NatsServer

    with _folder() as folder:
        server = NatsServer(folder)
        try:
            server.start()
            yield Engine(server.url, server.pid)
        finally:
            server.kill()


def without_server(
    kind: str, engine: Engine, *words: str, on: Collection[int] = processes.CORES[:1], within: float = 60.0
) -> Mapping[str, Mapping[str, float]]:
    """Load an engine without a server, with our log alone or a bare client; return what it says."""
    command = [sys.executable, str(build.BENCH / "engine_load.py"), kind, engine.url or "memory://"]
    command += ["--engine", str(engine.pid), *words]
    with tempfile.NamedTemporaryFile(prefix="bench-") as talk:
        at = Path(talk.name)
        with processes.stopping(processes.start_server(command, build.SOURCES, at, on)) as process:
            until = time.monotonic() + within
            while not (said := at.read_text()).endswith("}\n"):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{kind}, without a server: {said.strip()[-300:] or 'no word'}")
                time.sleep(0.02)
    told: dict[str, dict[str, float]] = json.loads(said.splitlines()[-1])
    return told
