"""What a browser's own means of listening do when the connection is cut from the other side.

Every message is to come once and in order, whatever was cut and when; the cut is made by a proxy, so neither
the page nor the server has a say in it.
"""

import random

import pytest
from playwright.async_api import Page

from browser.stage import Proxy, Site, Visiting, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# An address of the same origin that shows something without a script of its own.
EMPTY = "/version"

# A native EventSource and nothing else: no cursor of the page's own, and nothing dropped.
EVENT_SOURCE = """() => new Promise((resolve) => {
  window.heard = [];
  window.cuts = 0;
  const source = new EventSource("/channels/news,weather");
  source.addEventListener("ready", resolve, { once: true });
  source.addEventListener("message", (event) => heard.push([event.lastEventId, JSON.parse(event.data).id]));
  source.addEventListener("gap", (event) => heard.push(["gap", event.data]));
  source.addEventListener("error", () => (cuts += 1));
})"""

# One of the page's own modules, with a panel that only writes down.
MODULE = """async ([file, name]) => {
  const { Cursor } = await import("/web/cursor.js");
  const { [name]: listen } = await import(`/web/${file}.js`);
  const { Interval } = await import("/web/interval.js");
  window.heard = [];
  window.cuts = 0;
  const cursor = new Cursor();
  await new Promise((ready) => {
    const told = { answered() {}, failed() {}, opened() {}, event() {}, frame() {}, closed() {} };
    const panel = {
      connecting() {},
      live: () => setTimeout(ready),
      reconnecting: () => (cuts += 1),
      stopped: (reason) => heard.push(["stopped", reason]),
      ask: (url) => ({ ...told, url: String(url) }),
      message: (message) => heard.push([message.id, message.id]),
      gap: (gap) => heard.push(["gap", gap]),
    };
    const address = new URL("/channels/news,weather", location).href;
    listen({ address, cursor, panel, interval: new Interval(0.05), signal: new AbortController().signal });
  });
}"""


async def heard(page: Page, count: int) -> list[list[str]]:
    """Return what was heard, once it is `count` messages or more."""

    async def enough() -> bool:
        return bool(await page.evaluate("heard.length") >= count)

    await until(enough)
    got: list[list[str]] = await page.evaluate("heard")
    return got


async def cuts(page: Page, count: int) -> None:
    """Wait until the page has noticed `count` cuts."""

    async def enough() -> bool:
        return bool(await page.evaluate("cuts") >= count)

    await until(enough)


async def test_a_native_event_source_resumes_by_itself_what_was_published_meanwhile(
    site: Site, proxy: Proxy, visit: Visiting
) -> None:
    page = (await visit(proxy.url + EMPTY, cut=True)).page
    await page.evaluate(EVENT_SOURCE)
    published = [site.publish("news", n) for n in range(5)]
    await heard(page, 5)
    proxy.shut()
    published += [site.publish(("news", "weather")[n % 2], n) for n in range(20)]
    await cuts(page, 2)  # cut once, and turned away at least once
    published += [site.publish("weather", n) for n in range(5)]
    proxy.open()
    await heard(page, len(published))
    published.append(site.publish("news", "the last"))
    assert await heard(page, len(published)) == [[one, one] for one in published]


async def test_a_native_event_source_that_saw_no_message_resumes_from_its_ready_event(
    site: Site, proxy: Proxy, visit: Visiting
) -> None:
    page = (await visit(proxy.url + EMPTY, cut=True)).page
    await page.evaluate(EVENT_SOURCE)
    assert proxy.cut(b"text/event-stream") == 1
    published = [site.publish("news", "while it was away")]
    assert await heard(page, 1) == [[one, one] for one in published]


async def test_a_native_event_source_cut_in_the_midst_of_events_has_each_once(
    site: Site, proxy: Proxy, visit: Visiting
) -> None:
    chance = random.Random(20_26)
    page = (await visit(proxy.url + EMPTY, cut=True)).page
    await page.evaluate(EVENT_SOURCE)
    published: list[str] = []
    for round_ in range(1, 5):
        (link,) = proxy.carrying(b"text/event-stream")
        link.cut_after = chance.randrange(1, 900)  # an event is about 300 bytes: within the first to third
        published += [site.publish("news", "x" * 200) for _ in range(5)]
        await cuts(page, round_)
        await heard(page, len(published))
    assert await heard(page, len(published)) == [[one, one] for one in published]


@pytest.mark.parametrize(
    ("file", "name", "mark"),
    [
        ("polling", "polling", b"/channels/"),
        ("long-polling", "longPolling", b"wait="),
        ("sse", "serverSentEvents", b"text/event-stream"),
        ("websocket", "webSocket", b"Sec-WebSocket-Key"),
    ],
)
async def test_each_transport_of_the_page_keeps_its_place_by_the_cursor(
    site: Site, proxy: Proxy, visit: Visiting, file: str, name: str, mark: bytes
) -> None:
    chance = random.Random(name)
    page = (await visit(proxy.url + EMPTY, cut=True)).page
    await page.evaluate(MODULE, [file, name])
    published: list[str] = []

    async def carried() -> bool:
        return bool(proxy.carrying(mark))

    for round_ in range(4):
        before = await page.evaluate("cuts")
        await until(carried)
        for link in proxy.carrying(mark):
            # Within an answer's head, or within what it brings.
            link.cut_after = chance.randrange(1, 900)
        if round_ % 2:
            proxy.shut()
        published += [site.publish(chance.choice(["news", "weather"]), "x" * 200) for _ in range(5)]
        await cuts(page, before + 1)
        proxy.open()
        await heard(page, len(published))
    assert await heard(page, len(published)) == [[one, one] for one in published]
