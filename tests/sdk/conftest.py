"""A real Chromium whose pages load the built SDK from a real server."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from browser.conftest import ARGUMENTS, CHROMIUM
from kit import serving
from sdk.stage import Site, Tab, Tabs

SDK = Path(__file__).parents[2] / "sdk"


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
    with serving("--drain", "0.2") as server:
        yield Site(server)


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(browser: Browser, site: Site) -> AsyncIterator[Tabs]:
    """`await tabs()` opens one more tab of one browser, with a client in it."""
    context = await browser.new_context()

    async def open_tab(*channels: str, **options: Any) -> Tab:
        tab = Tab(await context.new_page(), site.url)
        await tab.load()
        if channels:
            await tab.connect(*channels, **options)
        return tab

    yield open_tab
    await context.close()


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of sdk/ with what it is built and tested with."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no `node` and `npm` on PATH: install Debian's nodejs and npm to build the SDK")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"the SDK is built with Node 20 or later, and this is {version.strip()}")
    copy = tmp_path_factory.mktemp("npm") / "sdk"
    shutil.copytree(SDK, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=copy,
        capture_output=True,
        text=True,
        env={**os.environ, "npm_config_update_notifier": "false"},
    )
    if installed.returncode:
        pytest.skip(f"npm cannot install what the SDK is built with: {installed.stderr.strip()[-300:]}")
    return copy
