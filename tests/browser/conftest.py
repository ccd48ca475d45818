"""A real Chromium and a real server for each test.

Invariant: a visit that saw an error in the console, an error in the page, or a request to another origin
fails its test, unless the test said beforehand that errors are meant.
"""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

import tidings
from browser.stage import Proxy, Site, Visit, Visiting
from kit import serving

# The machine may be busy; what is waited for is a condition. And a client that found no server may wait for
# twenty seconds until it tries again.
PATIENCE = 40_000  # ms
expect.set_options(timeout=PATIENCE)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root, and load nothing but our own pages
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no `chromium` on PATH: install Debian's chromium to run the browser tests")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server, tidings.Publisher(server.url) as publisher:
        yield Site(server.url, server.host, server.port, publisher)


@pytest.fixture
def second_site() -> Iterator[Site]:
    """Another server, with a log of its own: what a restart is to a client of a memory log."""
    with serving() as server, tidings.Publisher(server.url) as publisher:
        yield Site(server.url, server.host, server.port, publisher)


@pytest.fixture
def hurried_site(tmp_path: Path) -> Iterator[Site]:
    """A server that ends event streams every second, instead of every ten minutes."""
    # Python runs a module of this name before all else.
    hurry = ["STREAM_AGE = 1.0", "COMMENT_EVERY = 0.5", "RETRY_MS = 100"]
    lines = ["from tidings.core import limits", *(f"limits.{limit}" for limit in hurry)]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        serving(env={"PYTHONPATH": os.pathsep.join(paths)}) as server,
        tidings.Publisher(server.url) as publisher,
    ):
        yield Site(server.url, server.host, server.port, publisher)


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visiting]:
    """`await visit(url, width=…, cut=False, **context)` opens `url`; `cut=True` puts up with errors."""
    strict: list[Visit] = []
    contexts: list[BrowserContext] = []

    async def open_page(url: str, *, width: int = 1280, cut: bool = False, **options: Any) -> Visit:
        context = await browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        scheme, _, rest = url.partition("://")
        visit = Visit(page, f"{scheme}://{rest.partition('/')[0]}")
        page.on("console", visit.heard_console)
        page.on("request", lambda request: visit.heard_address(request.url))
        page.on("websocket", lambda socket: visit.heard_address(socket.url))
        page.on("pageerror", lambda error: visit.problems.append(f"error in the page: {error}"))
        if not cut:
            strict.append(visit)
        await page.goto(url)
        return visit

    yield open_page
    for context in contexts:
        await context.close()
    assert [problem for visit in strict for problem in visit.problems] == []


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(site: Site) -> AsyncIterator[Proxy]:
    proxy = Proxy(site)
    await proxy.start()
    yield proxy
    await proxy.stop()
