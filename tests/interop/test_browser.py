"""A real Chromium's own EventSource and WebSocket against the server, with no library."""

import json
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from client.obstacle import obstacle
from kit import ServerProcess

Publish = Callable[..., str]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

LISTEN = """
(url) => {
  window.said = []
  const source = new EventSource(url)
  for (const name of ["ready", "message", "price", "gap"])
    source.addEventListener(name, (e) => said.push({ [name]: JSON.parse(e.data), id: e.lastEventId }))
  source.onerror = () => said.push({ failed: source.readyState })
}
"""
CONNECT = """
(url) => {
  window.said = []
  window.socket = new WebSocket(url, "tidings.v1")
  socket.onopen = () => said.push({ open: socket.protocol })
  socket.onmessage = (e) => said.push(JSON.parse(e.data))
  socket.onclose = (e) => said.push({ closed: e.code })
}
"""


@pytest.fixture
async def page(shared: ServerProcess) -> AsyncIterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no `chromium` on PATH: install Debian's chromium to run the browser tests")
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = await browser.new_page()
        page.set_default_timeout(20_000)
        await page.goto(f"{shared.url}/livez")
        yield page
        await browser.close()


async def said(page: Page, count: int) -> list[Any]:
    """Wait until so much was said, and return it."""
    await page.wait_for_function(f"said.length >= {count}")
    found: list[Any] = json.loads(await page.evaluate("JSON.stringify(said)"))
    return found


@pytest.mark.browser
async def test_native_eventsource_reads_resumes_and_is_told_gaps_and_errors(
    shared: ServerProcess, publish: Publish, page: Page
) -> None:
    async with obstacle(shared) as way:
        await page.goto(f"{way.url}/livez")
        await page.evaluate(LISTEN, "/channels/native-es")
        assert "ready" in (await said(page, 1))[0]
        first = publish("native-es", {"n": 1})
        publish("native-es", 2, event="price")
        _, message, price = await said(page, 3)
        assert (message["id"], message["message"]["data"], price["price"]["data"]) == (first, {"n": 1}, 2)
        way.cut()
        assert (await said(page, 4))[3] == {"failed": 0}
        ids = [publish("native-es", n) for n in (3, 4)]
        # Back by itself behind the last id: nothing twice, nothing missing.
        told = await said(page, 7)
        assert [one["id"] for one in told[5:]] == ids
        assert "ready" in told[4]
        await page.evaluate(LISTEN, "/channels/native-es?after=other-7")
        # To the last of what is kept, which is not to come among what the next is told.
        told = await said(page, 6)
        assert told[1]["gap"]["reason"] == "epoch"
        assert told[2]["id"] == first
        # A status but 200 ends it for good, and it tells no more than that.
        await page.evaluate(LISTEN, "/channels/native-es?rewind=soon")
        assert await said(page, 1) == [{"failed": 2}]


@pytest.mark.browser
async def test_native_websocket_reads_resumes_commands_and_is_told_gaps_and_errors(
    shared: ServerProcess, publish: Publish, page: Page
) -> None:
    url = f"ws://{shared.host}:{shared.port}/channels/native-ws"
    await page.evaluate(CONNECT, url)
    await said(page, 2)
    first = publish("native-ws", {"n": 1})
    opened, ready, message = await said(page, 3)
    assert (opened, message["message"]["id"]) == ({"open": "tidings.v1"}, first)
    assert ready["ready"]["channels"] == ["native-ws"]
    await page.evaluate("""socket.send('{"publish":{"channel":"native-ws","data":2},"ref":7}')""")
    second = next(one["ok"]["id"] for one in await said(page, 5) if one.get("ref") == 7)
    await page.evaluate("""for (let n = 0; n < 10; n++) socket.send('{"shout":{}}')""")
    await page.wait_for_function("said.some((one) => 'closed' in one)")
    told = await said(page, 6)
    errors = [one["error"] for one in told if "error" in one]
    assert errors[0]["code"] == "unknown_command"
    assert "There is no command" in errors[0]["detail"]
    assert told[-1] == {"closed": 4500}
    await page.evaluate(CONNECT, f"{url}?after={first}")
    assert (await said(page, 3))[2]["message"]["id"] == second
    await page.evaluate(CONNECT, f"{url}?after=other-7")
    assert (await said(page, 3))[2]["gap"]["reason"] == "epoch"
