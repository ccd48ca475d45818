"""The dashboard in two windows: every reading is on every page, over reloads, switches and restarts."""

import asyncio
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.async_api import Page, expect

from apps.stage import TRANSPORTS, Starting
from browser.stage import Visiting, until
from kit import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

SEVERAL = re.compile(r"^([3-9]|\d\d+) readings")
DASHBOARD = Path(__file__).parents[2] / "examples" / "dashboard"


def kept(url: str) -> list[float]:
    """Return when each reading was read that the server keeps, in seconds."""
    with urlopen(f"{url}/channels/machine.readings?after=earliest") as answer:
        return [message["data"]["at"] / 1000 for message in json.load(answer)["messages"]]


async def shown(page: Page) -> list[float]:
    """Return when each reading was read that the page draws."""
    times: list[float] = await page.evaluate(
        "async () => (await import('/dashboard.js')).readings.columns(['cpu'])"
        ".reduce((times, cpus) => times.filter((_, i) => cpus[i] !== null))"
    )
    return times


async def shows_all(page: Page, url: str) -> None:
    """Wait until the page draws what the server keeps now, and check that it is all, in order, each once."""
    wanted = kept(url)

    async def there() -> bool:
        times = await shown(page)
        return bool(times) and times[-1] >= wanted[-1]

    await until(there)
    times = await shown(page)
    assert [time for time in times if wanted[0] <= time <= wanted[-1]] == wanted


@contextmanager
def collecting(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, DASHBOARD / "collector.py", "--url", url]) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_both_windows_draw_every_reading_and_a_reload_leaves_no_hole(
    start: Starting, visit: Visiting, transport: str
) -> None:
    demo = start("dashboard")
    address = f"{demo.url}/?transport={transport}"
    one, other = (await visit(address)).page, (await visit(address, width=360)).page
    for page in (one, other):
        await expect(page.get_by_label("Transport")).to_have_value(transport)
        await expect(page.locator("#account")).to_contain_text(SEVERAL)
        await shows_all(page, demo.url)
    await one.reload()
    await shows_all(one, demo.url)
    for page in (one, other):
        await expect(page.locator("#processes tr").first).to_contain_text("%")
        await expect(page.locator(".chart canvas")).to_have_count(5)
    assert await other.evaluate("document.documentElement.scrollWidth") == 360


async def test_a_switch_of_the_transport_loses_no_reading(start: Starting, visit: Visiting) -> None:
    demo = start("dashboard")
    page = (await visit(demo.url)).page
    await expect(page.locator("#account")).to_contain_text("readings")
    for transport in [*TRANSPORTS, "sse", "polling", "websocket"]:
        await page.get_by_label("Transport").select_option(transport)
        await expect(page.locator("#corner .state")).to_have_text("live by")
        await shows_all(page, demo.url)


async def test_readings_that_were_taken_while_the_server_was_away_come_later(visit: Visiting) -> None:
    server = ServerProcess("--static", str(DASHBOARD), "--drain", "0")
    with collecting(server.url):
        try:
            one, other = (await visit(server.url, cut=True)).page, (await visit(server.url, cut=True)).page
            for page in (one, other):
                await expect(page.locator("#account")).to_contain_text(SEVERAL)
            before = kept(server.url)
            for page in (one, other):
                await shows_all(page, server.url)  # what this server takes with it is on both
            server.stop()
            await asyncio.sleep(5)  # for as long as it is away, not for something to happen
            server = ServerProcess("--static", str(DASHBOARD), "--port", str(server.port), "--drain", "0")

            async def again() -> bool:
                return len(kept(server.url)) >= 5

            await until(again)
            for page in (one, other):
                await shows_all(page, server.url)
                times = await shown(page)
                assert times[: len(before)] == before
                # None was left out: one was due each second.
                assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 4
        finally:
            server.kill()


async def test_a_feed_that_stops_says_since_when_and_its_hole_stays_a_hole(visit: Visiting) -> None:
    server = ServerProcess("--static", str(DASHBOARD))
    try:
        page = (await visit(server.url, cut=True)).page
        with collecting(server.url):
            await expect(page.locator("#account")).to_contain_text(SEVERAL)
        await expect(page.locator("#when")).to_have_text(re.compile(r"^silent since \d\d:\d\d:\d\d$"))
        with collecting(server.url):
            await expect(page.locator("#when")).to_have_text("")
            await expect(page.locator("#account")).to_contain_text("some missing")
            columns = "async () => (await import('/dashboard.js')).readings.columns(['cpu'])[1]"
            assert None in await page.evaluate(columns)
    finally:
        server.kill()


async def test_the_arrow_keys_read_the_charts(start: Starting, visit: Visiting) -> None:
    demo = start("dashboard")
    page = (await visit(demo.url)).page
    await expect(page.locator("#account")).to_contain_text(SEVERAL)
    await page.locator("#charts").focus()
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator("#when")).to_have_text(re.compile(r"^at \d\d:\d\d:\d\d$"))
    await page.keyboard.press("Escape")
    await expect(page.locator("#when")).to_have_text("")
