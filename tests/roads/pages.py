"""Pages in a real Chromium that listen with the SDK, each behind a road of its own or many behind one.

Owns: the browser, the pages, and reading what they wrote down. Does not own: whether that is right (book.py).
Invariant: a page is loaded before its road turns hostile; from `connect` on it has no help.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from playwright.async_api import Browser, Page, Response, async_playwright

from browser.conftest import ARGUMENTS, CHROMIUM
from roads.book import Heard
from roads.listeners import CHANNEL, REPLIES, Listener

# An address of the same origin that shows something and runs nothing.
EMPTY = "/version"

LOAD = """async () => { window.tidings = await import("/tidings.js"); }"""

LISTEN = """async ([channel, options]) => {
  const told = { first: null, ids: [], gaps: [], states: [], troubles: [] };
  window.told = told;
  addEventListener("error", (event) => told.troubles.push(String(event.message)));
  addEventListener("unhandledrejection", (event) => told.troubles.push(String(event.reason)));
  const began = performance.now();
  const client = tidings.connect(options);
  window.client = client;
  client.on("state", (state) => {
    told.states.push([state.name, state.transport ?? "", state.reason ?? ""]);
    if (state.name === "failed") told.troubles.push(`failed: ${state.reason}`);
  });
  const news = client.channel(channel);
  news.on((message) => {
    told.first ??= (performance.now() - began) / 1000;
    told.ids.push(message.id);
  });
  news.on("gap", (gap) => told.gaps.push(JSON.stringify(gap)));
}"""

SEND = """async ([channel, reply]) => (await client.channel(channel).publish(reply)).id"""


class Way(Protocol):
    """Where a page is loaded from: by HTTP/2 where there is an address for that."""

    url: str
    tls_url: str | None


class PageListener:
    """One tab."""

    def __init__(self, road: str, page: Page, options: Mapping[str, Any] | None = None) -> None:
        self.heard = Heard(road, "page")
        self.page = page
        self._options = dict(options or {})
        # Counted from outside: the SDK says nothing of a stream that comes back at once.
        page.on("websocket", lambda socket: socket.once("framereceived", lambda _frame: self._connected()))
        page.on("response", self._answered)

    async def load(self, url: str) -> None:
        """Load the page and the SDK from there, and do nothing with them yet."""
        await self.page.goto(url + EMPTY)
        await self.page.evaluate(LOAD)

    async def open(self) -> None:
        await self.page.evaluate(LISTEN, [CHANNEL, self._options])

    async def look(self) -> Heard:
        told = await self.page.evaluate("window.told")
        heard = self.heard
        heard.first, heard.ids, heard.gaps = told["first"], told["ids"], told["gaps"]
        heard.troubles = told["troubles"]
        heard.transports = [
            transport for name, transport, _ in told["states"] if name == "live" and transport
        ]
        return heard

    async def send(self, number: int) -> str:
        reply = {"who": str(self.heard), "number": number}
        return str(await self.page.evaluate(SEND, [REPLIES, reply]))

    def _connected(self) -> None:
        self.heard.connections += 1

    def _answered(self, response: Response) -> None:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            self._connected()

    async def explain(self) -> Any:
        """Return what the SDK says of itself."""
        return await self.page.evaluate("client.explain()")

    async def close(self) -> None:
        await self.page.close()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Yield a real Chromium."""
    assert CHROMIUM is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def pages_behind(ways: Mapping[str, Way]) -> AsyncIterator[list[Listener]]:
    """Yield one loaded page behind each way, all tabs of one browser."""
    async with chromium() as browser:
        context = await browser.new_context(ignore_https_errors=True)

        async def load(name: str, way: Way) -> Listener:
            listener = PageListener(name, await context.new_page())
            await listener.load(way.tls_url or way.url)
            return listener

        yield list(await asyncio.gather(*(load(name, way) for name, way in ways.items())))
