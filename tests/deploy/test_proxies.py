"""nginx and HAProxy as in deploy/, before three real servers: any node serves any request, and one may go."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

import tidings
from deploy import files
from kit import ServerProcess, serving
from ports import free_port
from roads.proxies import documented
from tidings.client import Feed, Message, follow

PROXIES = {name: files.program(name) for name in ("nginx", "haproxy")}
TRANSPORTS: list[Literal["polling", "long-polling", "sse", "websocket"]] = [
    *("polling", "long-polling", "sse", "websocket")
]


@dataclass
class Front:
    """A proxy as deploy/ sets it up, and its nodes."""

    url: str
    nodes: list[ServerProcess] = field(default_factory=list)

    def publish(self, channel: str, data: str) -> None:
        """Publish at every node: these have no log in common."""
        for node in self.nodes:
            with tidings.Publisher(node.url) as publisher:
                publisher.publish(channel, data)


def changed(name: str, replaced: dict[str, str], nodes: list[ServerProcess]) -> str:
    """Return a file of deploy/ with the nodes' addresses, and what is `replaced`; it must be there."""
    text = files.text(name)
    for number, node in enumerate(nodes, 1):
        replaced[f" node{number}:8080"] = f" {node.host}:{node.port}"
    for old, new in replaced.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, nodes: list[ServerProcess]) -> list[str]:
    """Write nginx's configuration, and return its command."""
    kinds = ("proxy", "fastcgi", "uwsgi", "scgi")
    own = [f"{kind}_temp_path {folder}/{kind};" for kind in kinds] + [f"client_body_temp_path {folder}/body;"]
    user = ["user root;"] if os.geteuid() == 0 else []  # the worker writes into our folder
    replaced = {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "worker_processes auto;": "worker_processes 1;",
        "worker_connections 16384;": "worker_connections 1024;",
        "worker_rlimit_nofile 65536;": "\n".join(["daemon off;", f"pid {folder}/pid;", *user]),
        "access_log off;": "\n".join(["access_log off;", *own]),
    }
    file = folder / "nginx.conf"
    file.write_text(changed("nginx.conf", replaced, nodes))
    return ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]


def haproxy(folder: Path, port: int, nodes: list[ServerProcess]) -> list[str]:
    """Write HAProxy's configuration, and return its command."""
    replaced = {"bind :8080": f"bind 127.0.0.1:{port}", "maxconn 40000": "maxconn 500"}
    file = folder / "haproxy.cfg"
    file.write_text(changed("haproxy.cfg", replaced, nodes))
    return ["-db", "-f", str(file)]


@asynccontextmanager
async def standing(name: str, folder: Path, nodes: list[ServerProcess]) -> AsyncIterator[Front]:
    """Run that proxy before `nodes`."""
    program = PROXIES[name]
    if program is None:
        pytest.skip(f"no `{name}` on PATH")
    port = free_port()
    words = {"nginx": nginx, "haproxy": haproxy}[name](folder, port, nodes)
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  it only begins here
            [program, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(60):
            while not await answers(f"http://127.0.0.1:{port}/livez"):
                assert process.poll() is None, (folder / "output").read_text()
                await asyncio.sleep(0.02)
        yield Front(f"http://127.0.0.1:{port}", nodes)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 15)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ServerProcess]]:
    with serving() as one, serving() as two, serving() as three:
        yield [one, two, three]


@pytest_asyncio.fixture(params=["nginx", "haproxy"])
async def front(
    request: pytest.FixtureRequest, tmp_path: Path, nodes: list[ServerProcess]
) -> AsyncIterator[Front]:
    async with standing(request.param, tmp_path, nodes) as front:
        yield front


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def figure(node: ServerProcess, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{node.url}/metrics") as answer:
        found = re.search(rf"^{name} (\S+)$", await answer.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_passes(
    front: Front, transport: Literal["polling", "long-polling", "sse", "websocket"]
) -> None:
    channel = f"by-{transport}-{uuid4().hex}"
    async with asyncio.timeout(60), follow(front.url, channel, transport=transport, interval=0.1) as feed:
        hearing = asyncio.ensure_future(first_message(feed))
        while not hearing.done():
            await asyncio.to_thread(front.publish, channel, transport)
            await asyncio.wait([hearing], timeout=0.1)
        assert (await hearing).data == transport


async def first_message(feed: Feed) -> Message:
    """Return the first message. Gaps come before it: here each node has a log of its own."""
    async for item in feed:
        if isinstance(item, Message):
            return item
    raise AssertionError("the feed ended")


async def test_streams_are_spread_evenly_over_the_nodes(front: Front) -> None:
    headers = {"Accept": "text/event-stream"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        streams = [await session.get(f"{front.url}/channels/news", headers=headers) for _ in range(12)]
        async with asyncio.timeout(60):
            while True:
                found = [await figure(node, "tidings_live_subscribers") for node in front.nodes]
                if sum(found) == len(streams):
                    break
                await asyncio.sleep(0.02)
        for stream in streams:
            stream.close()
    assert min(found) >= 3


@pytest.mark.parametrize("name", PROXIES)
async def test_nobody_notices_a_node_that_is_gone(
    name: str, tmp_path: Path, nodes: list[ServerProcess]
) -> None:
    with serving("--drain", "0") as leaving:
        async with (
            standing(name, tmp_path, [leaving, *nodes[1:]]) as front,
            aiohttp.ClientSession() as session,
        ):
            leaving.stop()
            for _ in range(30):
                async with session.get(f"{front.url}/channels/news") as answer:
                    assert answer.status == 200


def test_what_nginx_says_to_the_servers_is_what_the_proxies_page_says() -> None:
    def directives(text: str) -> set[str]:
        return set(re.findall(r"^\s*(proxy_(?!connect)\w+ .+;)$", text, re.MULTILINE))

    def mapped(text: str) -> str:
        (block,) = re.findall(r"map \$http_upgrade .+?\}", text, re.DOTALL)
        return " ".join(block.split())

    ours, page = files.text("nginx.conf"), documented("nginx")
    assert directives(ours) == directives(page)
    assert mapped(ours) == mapped(page)


def test_haproxys_times_are_those_of_the_proxies_page() -> None:
    def times(text: str) -> set[str]:
        return set(re.findall(r"^ +(timeout (?!connect).+|option (?!redispatch).+)$", text, re.MULTILINE))

    assert times(files.text("haproxy.cfg")) == times(documented("haproxy"))


@pytest.mark.parametrize("name", ["nginx.conf", "haproxy.cfg"])
def test_no_session_is_sticky(name: str) -> None:
    said = re.sub(r"#.*", "", files.text(name))
    assert not re.search(r"ip_hash|sticky|stick-table|cookie|balance source", said)
