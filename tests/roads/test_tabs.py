"""Ten tabs of one browser behind one nginx, over HTTP/1.1: they have six connections together."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from browser.conftest import CHROMIUM
from kit import ServerProcess, serving
from roads.book import judge
from roads.listeners import Listener, PythonListener, all_have
from roads.pages import PageListener, chromium
from roads.proxies import KINDS, Proxy
from roads.run import KEEPS_ALL, Press

TABS = 10
OUTAGE = 10.0
# After an outage of 10 s a client may wait for up to 20 s: so long is the backoff's cap.
BACK = 30.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH"),
    pytest.mark.skipif(KINDS["nginx"].program is None, reason="no `nginx` on PATH"),
]


@dataclass
class Stage:
    """A server, an nginx before it, and who listens there."""

    server: ServerProcess
    proxy: Proxy
    press: Press
    tabs: Sequence[PageListener]

    async def published_to_all(self, listeners: Sequence[Listener], within: float) -> None:
        """Publish one more message, and see that everybody has everything."""
        await all_have(listeners, await self.press.publish(), within=within)
        verdicts = [judge(self.press.ids, await listener.look()) for listener in listeners]
        assert [fault for verdict in verdicts for fault in verdict.faults] == []


@asynccontextmanager
async def ten_tabs(kind: str, folder: Path) -> AsyncIterator[Stage]:
    with serving(*KEEPS_ALL) as server:
        proxy, press = Proxy(KINDS[kind], server, folder), Press(server, kind)
        await proxy.start()
        try:
            async with chromium() as browser:
                context = await browser.new_context()
                tabs = [PageListener(f"{kind}, tab {n}", await context.new_page()) for n in range(TABS)]
                # The streams of the first tabs would take the connections that the last are loaded by.
                await asyncio.gather(*(tab.load(proxy.url) for tab in tabs))
                yield Stage(server, proxy, press, tabs)
        finally:
            press.close()
            await proxy.stop()


async def opened(stage: Stage, more: Sequence[Listener] = ()) -> list[Listener]:
    """Open everybody, and return them when each has had a message."""
    listeners: list[Listener] = [*stage.tabs, *more]
    async with stage.press.running():
        await asyncio.gather(*(listener.open() for listener in listeners))
        await all_have(listeners, None, within=20)
    await stage.published_to_all(listeners, within=10)
    return listeners


@pytest.mark.parametrize("kind", ["nginx as it comes", "nginx"])
async def test_ten_tabs_of_one_browser_all_hear(kind: str, tmp_path: Path) -> None:
    async with ten_tabs(kind, tmp_path) as stage:
        await opened(stage)
        # Whoever has the connection goes, and the others go on without it.
        leaders = [tab for tab in stage.tabs if (await tab.explain())["role"] == "leader"]
        assert len(leaders) == 1
        others = [tab for tab in stage.tabs if tab not in leaders]
        async with stage.press.running():
            await leaders[0].close()
        await stage.published_to_all(others, within=10)


async def refused(stage: Stage) -> None:
    await stage.proxy.stop()
    await asyncio.sleep(OUTAGE)
    await stage.proxy.start()


async def frozen(stage: Stage) -> None:
    stage.server.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(OUTAGE)
    finally:
        stage.server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("outage", [refused, frozen])
async def test_after_ten_seconds_without_a_server_everybody_catches_up(
    outage: Callable[[Stage], Awaitable[None]], tmp_path: Path
) -> None:
    async with ten_tabs("nginx as it comes", tmp_path) as stage:
        program = PythonListener("nginx as it comes", stage.proxy.url)
        try:
            listeners = await opened(stage, [program])
            async with stage.press.running():
                await outage(stage)
            await stage.published_to_all(listeners, within=BACK)
        finally:
            await program.close()
