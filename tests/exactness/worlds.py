"""What a run is made against: server processes, what their log stands on, and what can break of both.

Owns: which blows there are, and how each falls. Does not own: when (nemesis.py), what must hold (checker.py).
Invariant: after a blow has fallen everything that it broke runs again, at the ports where it was.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

from exactness.lives import Lives
from exactness.truth import Truth


class Engine(Protocol):
    """A real server that keeps the log: tests/engines."""

    def start(self) -> object:
        """Run, at the same port, with what is in its folder."""

    def stop(self) -> None:
        """End in order."""

    def kill(self) -> None:
        """End without a word."""

    def freeze(self) -> None:
        """Do nothing, and notice nothing."""

    def thaw(self) -> None:
        """Go on."""


class World:
    """Nodes of one log, and perhaps the engine that it is in.

    `weights` says how often each blow falls. Clients come in at `ports`; the undisturbed subscriber
    listens at the first node, which no blow reaches where there are others. `lasts` is whether a node
    that is started again goes on in the same life, `durability` what every receipt says, `cut` whether the
    log is cut at its beginning only. `codes` are the close codes that a client may meet.
    """

    weights: Mapping[str, int] = {"mood": 12, "cut": 4, "freeze": 3, "kill": 3, "drain": 3}
    lasts = False
    cut = False
    durability = "memory"
    codes = frozenset({1000, 1001, 4005})

    def __init__(self, name: str, settings: Mapping[str, Any], *, nodes: int = 1) -> None:
        self.name = name
        self.partitions = int(settings.get("partitions", 1))
        self.faults: list[str] = []
        self.truths: list[Truth] = []
        self.nodes = [Lives(settings) for _ in range(nodes)]

    @property
    def ports(self) -> tuple[int, ...]:
        """Where clients come in."""
        return tuple(node.port for node in (self.nodes[1:] or self.nodes))

    def groups(self, channels: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the channels by partition: each is judged as a log of its own."""
        found: list[list[str]] = [[] for _ in range(self.partitions)]
        for channel in channels:
            found[crc32(channel.encode()) % self.partitions].append(channel)
        return [tuple(group) for group in found]

    @property
    def lives(self) -> int:
        """How many processes there were, of all nodes."""
        return sum(node.count for node in self.nodes)

    async def strike(self, kind: str, seconds: float, which: float, tell: Callable[[str], None]) -> None:
        """Break one thing, and mend what must be mended before the next. `which` is from 0 to 1."""
        struck = self.nodes[1:] or self.nodes
        node = struck[int(which * len(struck))]
        if node.now.process.poll() is not None:
            self.faults.append(f"life {node.count} ended by itself with {node.now.process.poll()}")
            await self._again(node)
            return
        match kind:
            case "freeze":
                tell(f"freeze {node.port} for {seconds:.1f} s")
                node.now.freeze()
                await asyncio.sleep(seconds)
                node.now.thaw()
            case "kill":
                tell(f"kill -9 {node.port}")
                await asyncio.to_thread(node.now.kill)
                await self._again(node)
            case "drain":
                tell(f"SIGTERM {node.port}")
                await self._drain(node)
            case "rolling":
                tell("SIGTERM, one node after the other")
                for one in struck:
                    await self._drain(one)
            case _:
                await self.strike_engine(kind, seconds, tell)

    async def strike_engine(self, kind: str, seconds: float, tell: Callable[[str], None]) -> None:
        """Break what the log stands on."""
        raise ValueError(f"there is no blow {kind} in this world")

    async def _drain(self, node: Lives) -> None:
        node.now.terminate()
        code = await asyncio.to_thread(node.now.wait, 60.0)
        if code != 0:
            self.faults.append(f"after SIGTERM life {node.count} ended with {code}")
            await asyncio.to_thread(node.now.kill)
        await self._again(node)

    async def _again(self, node: Lives) -> None:
        before = [truth.begun for truth in self.truths]
        await asyncio.to_thread(node.again)
        if node is self.nodes[0]:
            # Every life of the server has its undisturbed subscriber before the next blow falls.
            for truth, begun in zip(self.truths, before, strict=True):
                await asyncio.to_thread(truth.wait_begun, begun + 1)

    def thaw(self) -> None:
        """Leave nothing frozen."""
        for node in self.nodes:
            node.now.thaw()

    def tracebacks(self) -> list[str]:
        """Return what any process said of itself that no server should have to say."""
        return [fault for node in self.nodes for fault in node.tracebacks()]

    def close(self) -> None:
        """End everything."""
        for node in self.nodes:
            node.now.kill()


class FileWorld(World):
    """One server, whose log is in an SQLite file."""

    lasts = True

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self._folder = tempfile.mkdtemp(prefix="tidings-")
        self.durability = name.partition("-")[2] or "synced"
        log = f"sqlite:///{self._folder}/tidings.db?durability={self.durability}"
        super().__init__(name, {**settings, "log": log})

    def close(self) -> None:
        """See World."""
        super().close()
        shutil.rmtree(self._folder)


class WorkersWorld(World):
    """One server of several workers; one of them is killed now and then."""

    weights: Mapping[str, int] = {"mood": 12, "cut": 4, "worker-kill": 6, "worker-freeze": 2, "drain": 2}

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        super().__init__(name, {**settings, "workers": 2})

    async def strike_engine(self, kind: str, seconds: float, tell: Callable[[str], None]) -> None:
        """See World."""
        workers = self.nodes[0].now.children()
        worker = workers[int(seconds * 1000) % len(workers)]
        if kind == "worker-kill":
            tell(f"kill -9 worker {worker}")
            self.nodes[0].now.kill_child(worker)
            while len(now := self.nodes[0].now.children()) < len(workers) or worker in now:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        else:
            tell(f"freeze worker {worker} for {seconds:.1f} s")
            self.nodes[0].now.freeze_child(worker)
            await asyncio.sleep(seconds)
            self.nodes[0].now.thaw_child(worker)


class EngineWorld(World):
    """Three nodes that clients come in at, and one for the truth, on one engine."""

    weights: Mapping[str, int] = {
        "mood": 12,
        "cut": 3,
        "freeze": 2,
        "kill": 3,
        "drain": 2,
        "rolling": 1,
        "engine-kill": 2,
        "engine-freeze": 2,
        "engine-empty": 1,
    }
    lasts = True
    cut = True
    durability = "stored"
    codes = World.codes | {1013}

    def __init__(
        self, name: str, settings: Mapping[str, Any], engine: Engine, url: str, empty: Callable[[], object]
    ) -> None:
        self.engine = engine
        self.emptied = 0
        self._empty = empty
        super().__init__(name, {**settings, "log": url}, nodes=4)

    async def strike_engine(self, kind: str, seconds: float, tell: Callable[[str], None]) -> None:
        """See World."""
        engine = self.engine
        match kind:
            case "engine-kill":
                tell("kill -9 the engine")
                await asyncio.to_thread(engine.kill)
                await asyncio.sleep(seconds)
                await asyncio.to_thread(engine.start)
            case "engine-freeze":
                tell(f"freeze the engine for {seconds:.1f} s")
                engine.freeze()
                await asyncio.sleep(seconds)
                engine.thaw()
            case "engine-empty":
                tell("empty the engine")
                self.emptied += 1
                await asyncio.to_thread(self._empty)
            case _:
                await super().strike_engine(kind, seconds, tell)

    def thaw(self) -> None:
        """See World."""
        self.engine.thaw()
        super().thaw()

    def close(self) -> None:
        """See World."""
        with contextlib.suppress(Exception):
            self.engine.thaw()
        super().close()
        self.engine.kill()


def _redis(name: str, settings: Mapping[str, Any]) -> World:
    from engines.redis import RedisServer

    server = RedisServer(Path(tempfile.mkdtemp(prefix="tidings-"))).start()
    return EngineWorld(name, settings, server, server.url(), lambda: server.call("FLUSHALL"))


def _nats(name: str, settings: Mapping[str, Any]) -> World:
    from engines.nats import NatsServer

    server = NatsServer(Path(tempfile.mkdtemp(prefix="tidings-")))
    server.start()
    return EngineWorld(name, settings, server, server.url, server.empty)


def _partitioned(
    world: Callable[[str, Mapping[str, Any]], World],
) -> Callable[[str, Mapping[str, Any]], World]:
    return lambda name, settings: world(name, {**settings, "partitions": 3})


_WORLDS: Mapping[str, Callable[[str, Mapping[str, Any]], World]] = {
    "memory": World,
    "sqlite": FileWorld,
    "sqlite-stored": FileWorld,
    "workers": WorkersWorld,
    "redis": _redis,
    "nats": _nats,
    "redis-partitions": _partitioned(_redis),
    "nats-partitions": _partitioned(_nats),
}
NAMES = tuple(_WORLDS)


def build(name: str, settings: Mapping[str, Any]) -> World:
    """Return the world of that name, running. Whoever asks closes it."""
    return _WORLDS[name](name, settings)
