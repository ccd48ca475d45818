"""The Compose files without Docker: their engines, their nodes and their nginx, started by hand as they say.

Only addresses are replaced. What Docker adds (images, networks, limits) is not tried here.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

import tidings
from deploy import files
from deploy.test_proxies import PROXIES, TRANSPORTS, Front, answers, standing
from kit import ServerProcess
from ports import free_port, free_ports
from tidings.client import Feed, Message, follow

PROGRAMS = {
    "compose.yaml": files.program("redis-server", "valkey-server"),
    "compose.nats.yaml": files.program("nats-server"),
}
PATIENCE = 40.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROXIES["nginx"] is None, reason="no `nginx` on PATH"),
]

Places = dict[str, str]
"""Where what a file calls `host:port` is here."""


@contextmanager
def running(words: list[str], folder: Path) -> Iterator[None]:
    with (
        (folder / "output").open("ab") as output,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.kill()
            process.wait(15)


@contextmanager
def redis(program: str, folder: Path) -> Iterator[Places]:
    """Run the Redis of compose.yaml."""
    port = free_port()
    command = files.compose("compose.yaml")["services"]["redis"]["command"]
    assert command[0] == "redis-server"
    own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with running([program, *command[1:], *own], folder):
        yield {"redis:6379": f"127.0.0.1:{port}"}


@contextmanager
def nats(program: str, folder: Path) -> Iterator[Places]:
    """Run the three NATS servers of compose.nats.yaml."""
    services = files.compose("compose.nats.yaml")["services"]
    names = sorted(name for name in services if name.startswith("nats"))
    ports = iter(free_ports(3 * len(names)))
    places = {f"{name}:{port}": f"127.0.0.1:{next(ports)}" for name in names for port in (4222, 6222, 8222)}
    with ExitStack() as stack:
        for name in names:
            (folder / name).mkdir()
            configuration = files.nats_configuration(program, folder / name)
            for what, port in (("port: 4222", 4222), ("http_port: 8222", 8222), ("    port: 6222", 6222)):
                assert f"\n{what}\n" in configuration
                own = what.replace(str(port), places[f"{name}:{port}"].rpartition(":")[2])
                configuration = configuration.replace(f"\n{what}\n", f"\n{own}\n")
            for place, here in places.items():
                configuration = configuration.replace(f"nats://{place}", f"nats://{here}")
            file = folder / name / "nats.conf"
            file.write_text(configuration)
            words = [
                str(file) if word == "/etc/nats/nats.conf" else word for word in services[name]["command"]
            ]
            stack.enter_context(running([program, *words], folder / name))
        yield places


async def redis_answers(places: Places) -> None:
    """Wait for what Docker starts a node anew for: by itself a node waits ten seconds at most."""
    host, _, port = places["redis:6379"].partition(":")
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"PING\r\n")
                said = await reader.readline()
                writer.close()
                if said == b"+PONG\r\n":
                    return
            await asyncio.sleep(0.05)


async def nats_has_a_leader(places: Places) -> None:
    """Wait until the servers have found each other, and one of them leads."""
    servers = [here for place, here in places.items() if place.endswith(":8222")]
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        for server in servers:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{server}/jsz") as answer:
                        cluster = (await answer.json()).get("meta_cluster", {})
                        if cluster.get("leader") and cluster.get("cluster_size") == len(servers):
                            break
                await asyncio.sleep(0.05)


READY = {"compose.yaml": redis_answers, "compose.nats.yaml": nats_has_a_leader}
DURABILITY = {"compose.yaml": "synced", "compose.nats.yaml": "stored"}
ENGINES = {"compose.yaml": redis, "compose.nats.yaml": nats}


def node(file: str, name: str, places: Places, port: int) -> ServerProcess:
    """Start that node of the file."""
    service = files.nodes(file)[name]
    words = list(service["command"][1:])
    words[words.index("--host") + 1] = "127.0.0.1"
    words[words.index("--port") + 1] = str(port)
    url = service["environment"]["TIDINGS_LOG"]
    for place, here in places.items():
        url = url.replace(place, here)
    return ServerProcess(*words, env={"TIDINGS_LOG": url})


class Cluster:
    """What the file describes, running."""

    def __init__(self, file: str, front: Front, places: Places) -> None:
        self.file = file
        self.url = front.url
        self.nodes = front.nodes
        self._places = places

    async def restart(self, number: int) -> None:
        """Stop a node as Docker would, start it again at its address, and return when it is ready."""
        old = self.nodes[number]
        assert await asyncio.to_thread(old.stop) == 0
        new = await asyncio.to_thread(node, self.file, f"node{number + 1}", self._places, old.port)
        self.nodes[number] = new
        async with asyncio.timeout(PATIENCE):
            while not await answers(f"{new.url}/readyz"):  # noqa: ASYNC110  another process
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(params=files.COMPOSE)
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    file = request.param
    program = PROGRAMS[file]
    if program is None:
        pytest.skip(f"{file} needs a program that is not on PATH")
    with ENGINES[file](program, tmp_path) as places:
        nodes: list[ServerProcess] = []
        try:
            await READY[file](places)
            names = files.nodes(file)
            ports = free_ports(len(names))  # which stay theirs between two lives
            nodes += [node(file, name, places, port) for name, port in zip(names, ports, strict=True)]
            async with standing("nginx", tmp_path, nodes) as front:
                yield Cluster(file, front, places)
        finally:
            for one in nodes:
                one.kill()


async def hear(feed: Feed, heard: list[object], last: int) -> None:
    async for item in feed:
        heard.append(item.data if isinstance(item, Message) else item)
        if heard[-1] == last:
            return


async def test_a_receipt_says_what_the_engine_is_set_to(cluster: Cluster) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{cluster.url}/channels/news", json=1) as answer,
    ):
        assert answer.status == 201
        assert (await answer.json())["durability"] == DURABILITY[cluster.file]


async def test_all_nodes_are_restarted_and_every_client_hears_every_message_once(cluster: Cluster) -> None:
    stop = asyncio.Event()
    published: list[int] = []

    async def publish() -> None:
        async with tidings.connect(cluster.url) as client:
            while not stop.is_set():
                await client.publish("news", len(published), timeout=PATIENCE)
                published.append(len(published))
                await asyncio.sleep(0.02)
            await client.publish("news", -1, timeout=PATIENCE)

    feeds = [follow(cluster.url, "news", transport=way, interval=0.2) for way in TRANSPORTS for _ in range(3)]
    heard: list[list[object]] = [[] for _ in feeds]
    async with asyncio.timeout(100):
        hearing = [asyncio.create_task(hear(feed, said, -1)) for feed, said in zip(feeds, heard, strict=True)]
        while not all(feed.cursor for feed in feeds):  # noqa: ASYNC110  a figure
            await asyncio.sleep(0.05)
        publishing = asyncio.create_task(publish())
        for number in range(len(cluster.nodes)):
            await cluster.restart(number)
        while len(published) <= 50:  # noqa: ASYNC110  a figure
            await asyncio.sleep(0.05)
        stop.set()
        await publishing
        await asyncio.gather(*hearing)
    for feed in feeds:
        await feed.aclose()
    for said in heard:
        assert said == [*published, -1]
