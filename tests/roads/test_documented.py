"""What docs/proxies.md says, done: each block as it stands there, before a real server."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
import pytest_asyncio

import tidings
from kit import ServerProcess
from roads.conftest import SITE
from roads.proxies import AS_IT_COMES, KINDS, PAGE, Proxy
from tidings.client import Message, Refused, follow

Transport = Literal["polling", "long-polling", "sse", "websocket"]
TRANSPORTS: list[Transport] = ["polling", "long-polling", "sse", "websocket"]
DOCUMENTED = ["nginx", "haproxy", "caddy"]


@pytest_asyncio.fixture
async def proxy(
    request: pytest.FixtureRequest, named_server: ServerProcess, tmp_path: Path
) -> AsyncIterator[Proxy]:
    kind = KINDS[request.param]
    if kind.program is None:
        pytest.skip(f"no `{request.param.split()[0]}` on PATH")
    proxy = Proxy(kind, named_server, tmp_path)
    await proxy.start()
    yield proxy
    await proxy.stop()


async def first_message(url: str, server: ServerProcess, transport: Transport) -> Message:
    """Publish until one message is heard, and return it."""
    async with (
        asyncio.timeout(30),
        follow(url, f"by-{transport}", transport=transport, interval=0.1) as feed,
    ):
        hearing = asyncio.ensure_future(anext(feed))
        with tidings.Publisher(server.url) as publisher:
            while not hearing.done():
                await asyncio.to_thread(publisher.publish, f"by-{transport}", transport)
                await asyncio.wait([hearing], timeout=0.1)
        heard = await hearing
    assert isinstance(heard, Message)
    return heard


async def figure(server: ServerProcess, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
        found = re.search(rf"^{name} (\S+)$", await answer.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("proxy", DOCUMENTED, indirect=True)
async def test_every_transport_passes_what_is_documented(
    proxy: Proxy, named_server: ServerProcess, transport: Transport
) -> None:
    assert (await first_message(proxy.url, named_server, transport)).data == transport


@pytest.mark.parametrize("proxy", [AS_IT_COMES], indirect=True)
async def test_nginx_as_it_comes_takes_only_the_web_socket_away(
    proxy: Proxy, named_server: ServerProcess
) -> None:
    for transport in TRANSPORTS[:3]:
        assert (await first_message(proxy.url, named_server, transport)).data == transport
    with pytest.raises(Refused) as refused:
        await first_message(proxy.url, named_server, "websocket")
    assert refused.value.code == "upgrade_required"


@pytest.mark.parametrize("proxy", [*DOCUMENTED, AS_IT_COMES], indirect=True)
async def test_a_page_of_the_named_site_may_publish_and_ask(
    proxy: Proxy, named_server: ServerProcess
) -> None:
    headers = {"Host": SITE, "Origin": f"https://{SITE}", "Sec-Fetch-Site": "same-origin"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{proxy.url}/channels/named", json=1) as answer:
            assert answer.status == 201
        async with session.get(f"{proxy.url}/channels/named") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("proxy", "status"), [*((name, 201) for name in DOCUMENTED), (AS_IT_COMES, 403)], indirect=["proxy"]
)
async def test_a_page_that_was_not_named_may_publish_where_host_is_handed_on(
    proxy: Proxy, status: int
) -> None:
    # An address, so that the server on loopback need not be told of it.
    async with (
        aiohttp.ClientSession(headers={"Origin": proxy.url, "Sec-Fetch-Site": "same-origin"}) as session,
        session.post(f"{proxy.url}/channels/named", json=1) as answer,
    ):
        assert answer.status == status


@pytest.mark.parametrize("proxy", [*DOCUMENTED, AS_IT_COMES], indirect=True)
async def test_who_goes_away_is_gone_at_the_server_as_well(proxy: Proxy, named_server: ServerProcess) -> None:
    waiting = {"Accept": "text/event-stream"}, {"Prefer": "wait=55"}
    async with aiohttp.ClientSession() as session:

        async def ask(headers: dict[str, str]) -> None:
            async with session.get(f"{proxy.url}/channels/gone", headers=headers) as answer:
                await answer.content.read()

        asking = [asyncio.create_task(ask(headers)) for headers in waiting]
        await settled(named_server, len(asking))
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    await settled(named_server, 0)


async def settled(server: ServerProcess, subscribers: int) -> None:
    async with asyncio.timeout(30):
        while await figure(server, "tidings_live_subscribers") != subscribers:  # noqa: ASYNC110  a figure
            await asyncio.sleep(0.02)


def test_the_page_has_one_block_for_each_proxy_that_is_run() -> None:
    assert sorted(re.findall(r"^```(\w+)$", PAGE.read_text(), re.MULTILINE)) == [
        "caddyfile",
        "haproxy",
        "nginx",
    ]
