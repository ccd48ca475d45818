"""The SDK in a real Chromium, over each transport: what an application sees does not depend on it."""

import asyncio

import pytest
from playwright.async_api import Browser

from sdk.stage import Site, Tabs, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TRANSPORTS = ["websocket", "sse", "long-polling", "polling", "eventsource"]
JUST_LISTEN = """
async () => {
  window.client = (await import("/tidings.js")).connect();
  client.channel("news").on(() => {});
}
"""
over_each = pytest.mark.parametrize("transport", TRANSPORTS)


@over_each
async def test_hears_what_it_asked_for_and_what_comes_each_once(
    site: Site, tabs: Tabs, transport: str
) -> None:
    site.publish("news", 1, 2, 3)
    tab = await tabs("news", start={"rewind": 2}, transports=[transport])
    await tab.hears(2, 3)
    await tab.live()
    site.publish("news", 4, 5)
    await tab.hears(2, 3, 4, 5)
    assert (await tab.see("client.state"))["transport"] == transport
    assert await tab.see("gaps") == []
    assert tab.errors == []
    # At the first attempt: a client whose connections fall gets everything, too, only later.
    assert [line.split(" ", 1)[1] for line in (await tab.explain())["tried"]] == [
        f"trying {transport}",
        f"{transport} is ready",
    ]


@pytest.mark.parametrize("transport", ["websocket", "sse", "long-polling", "eventsource"])
async def test_channels_come_and_go_while_it_is_live(site: Site, tabs: Tabs, transport: str) -> None:
    site.publish("chat", "before")
    site.publish("past", "p1", "p2")
    tab = await tabs("news", transports=[transport])
    await tab.live()
    site.publish("news", 1)
    site.publish("chat", "not asked for")
    await tab.hears(1)
    await tab.see("void (window.leave = listen('chat'), listen('past', {rewind: 1}))")
    # The new channels have begun when what was kept of one of them has come.
    await tab.hears(1, "p2")
    await tab.reach("client.explain().began.includes('chat')")
    site.publish("chat", "hi")
    site.publish("news", 2)
    await tab.hears(1, "p2", "hi", 2)
    await tab.see("leave()")
    await tab.reach("!client.explain().channels.includes('chat')")
    site.publish("chat", "nobody listens")
    site.publish("news", 3)
    await tab.hears(1, "p2", "hi", 2, 3)


@pytest.mark.parametrize("transport", ["websocket", "eventsource"])
async def test_publishes_and_hears_itself_by_event(site: Site, tabs: Tabs, transport: str) -> None:
    tab = await tabs(transports=[transport])
    await tab.connect(transports=[transport])
    await tab.see("void client.channel('prices').on('price', (message) => heard.push(message))")
    await tab.live()
    receipt = await tab.see("client.channel('prices').publish({p: 1.5}, {event: 'price', key: 'ACME'})")
    assert receipt["durability"] == "memory"
    await tab.see("client.channel('prices').publish('other', {event: 'name'})")
    await tab.reach("heard.length")
    message = (await tab.heard())[0]
    assert (message["id"], message["data"], message["key"]) == (receipt["id"], {"p": 1.5}, "ACME")


async def test_by_itself_it_takes_a_websocket(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news")
    # Where it is late, another is taken meanwhile.
    await tab.reach("client.state.transport === 'websocket'", within=20)
    assert (await tab.explain())["tried"][0].endswith(" trying websocket")


async def test_where_the_page_forbids_websockets_it_falls_back_and_says_why(
    site: Site, browser: Browser
) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    policy = {"Content-Security-Policy": "connect-src http:"}
    html = "<!doctype html><title>strict</title>"
    await page.route(
        "**/strict", lambda route: route.fulfill(body=html, content_type="text/html", headers=policy)
    )
    await page.goto(site.url + "/strict")
    await page.evaluate(JUST_LISTEN)
    await until(lambda: page.evaluate("client.state.name === 'live'"))
    explained = await page.evaluate("client.explain()")
    assert explained["state"]["transport"] == "sse"
    assert any("connect-src" in line for line in explained["tried"]), explained
    # What worked is remembered: another page does not try in vain.
    await page.goto(site.url + "/strict")
    await page.evaluate(JUST_LISTEN)
    await until(lambda: page.evaluate("client.state.name === 'live'"))
    assert "websocket" not in str((await page.evaluate("client.explain()"))["tried"])
    await context.close()


async def test_iterates_over_a_channel(site: Site, tabs: Tabs) -> None:
    site.publish("news", 1, 2, 3)
    tab = await tabs(bufferMessages=5)
    await tab.connect()
    read = tab.see(
        """(async () => {
          const got = [];
          for await (const { data } of client.channel("news", { after: "earliest" })) {
            if (got.push(data) === 3) return got;
          }
        })()"""
    )
    assert await read == [1, 2, 3]
    await tab.reach("client.state.name === 'idle'")


async def test_an_iterator_that_is_not_read_says_so_instead_of_growing(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news", bufferMessages=5)
    await tab.live()
    await tab.see("void (window.slow = client.channel('news')[Symbol.asyncIterator]())")
    site.publish("news", *range(8))
    await tab.hears(*range(8))
    gaps = await tab.see("gaps")
    assert [gap["reason"] for gap in gaps] == ["buffer"]
    assert await tab.see("slow.next().then(({ value }) => value.data)") == 5


async def test_a_refused_publish_says_what_is_wrong(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news")
    said = await tab.see(
        "client.channel('news').publish(1, {event: 'gap'}).catch(({code, status}) => [code, status])"
    )
    assert said == ["bad_event", 400]
    with pytest.raises(Exception, match="no channel name"):
        await tab.see("client.channel('no such')")


async def test_what_is_published_in_one_turn_keeps_its_order(site: Site, tabs: Tabs) -> None:
    tab = await tabs("news", transports=["long-polling"])
    await tab.live()
    await tab.see("Promise.all(Array.from({length: 250}, (_, n) => client.channel('news').publish(n)))")
    await tab.hears(*range(250))


async def test_in_a_worker(site: Site, tabs: Tabs) -> None:
    tab = await tabs()
    await tab.see(
        """() => {
          window.heard = [];
          const source = `import("${location.origin}/tidings.js").then(({ connect }) => {
            const client = connect("${location.origin}", { share: false });
            client.on("state", ({ name }) => name === "live" && postMessage("live"));
            client.channel("news").on(({ data }) => postMessage(data));
          })`;
          const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
          worker.onmessage = ({ data }) => heard.push(data);
        }"""
    )
    await until(lambda: tab.see("heard.length === 1"))
    await asyncio.to_thread(site.publish, "news", "in the worker")
    await until(lambda: tab.see("heard.length === 2"))
    assert await tab.heard() == ["live", "in the worker"]
