"""The chat in two windows: what one does the other shows, whatever the transport, and over a restart."""

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

import tidings
from apps.stage import TRANSPORTS, Starting
from browser.stage import Visiting, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

OTHER = {"websocket": "sse", "sse": "long-polling", "long-polling": "polling", "polling": "websocket"}


async def live(page: Page, transport: str) -> None:
    await expect(page.locator("#corner .state")).to_have_text("live by")
    await expect(page.get_by_label("Transport")).to_have_value(transport)


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.get_by_label("Message", exact=True).press("Enter")


def said(page: Page) -> Locator:
    return page.locator("#messages .said .text")


async def call(page: Page, name: str) -> None:
    await page.get_by_label("Your name").fill(name)
    await page.get_by_label("Your name").press("Enter")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_one_says_mends_and_types_the_other_sees_whatever_the_transport(
    start: Starting, visit: Visiting, transport: str
) -> None:
    demo = start("chat")
    address = f"{demo.url}/?transport={transport}"
    one, other = (await visit(address)).page, (await visit(address, width=360)).page
    for page in (one, other):
        await live(page, transport)
    await call(one, "Coral Lark")
    await say(one, "hello <b>there</b>")
    await say(one, "secnd")
    await expect(said(other)).to_have_text(["hello <b>there</b>", "secnd"])
    assert await other.locator("#messages b b").count() == 0, "a message's text became markup"
    await expect(other.locator(".said .name")).to_have_text(["Coral Lark"])
    await expect(said(one)).to_have_text(["hello <b>there</b>", "secnd"])

    # Arrow up mends the last, with the keyboard alone.
    await one.get_by_label("Message", exact=True).press("ArrowUp")
    await expect(one.get_by_label("Message", exact=True)).to_have_value("secnd")
    await say(one, "second")
    await expect(said(other)).to_have_text(["hello <b>there</b>", "second"])
    await expect(other.locator(".said").nth(1)).to_contain_text("edited")

    async def types_and_is_seen_to() -> bool:
        await one.get_by_label("Message", exact=True).press_sequentially("I am")
        return await other.locator("#typing").inner_text() == "Coral Lark is typing …"

    if transport != "polling":  # a poller may ask too late for what lasts five seconds
        await until(types_and_is_seen_to)

    # And the other way round, after the transport was switched on one side.
    await one.get_by_label("Transport").select_option(OTHER[transport])
    await live(one, OTHER[transport])
    await expect(one).to_have_url(re.compile(rf"[?&]transport={OTHER[transport]}\b"))
    await say(other, "third")
    for page in (one, other):
        await expect(said(page)).to_have_text(["hello <b>there</b>", "second", "third"])
    assert await other.evaluate("document.documentElement.scrollWidth") == 360


async def test_what_is_said_while_the_transport_is_switched_comes_once(
    start: Starting, visit: Visiting
) -> None:
    demo = start("chat")
    with tidings.Publisher(demo.url) as publisher:
        page = (await visit(demo.url)).page
        await live(page, "websocket")
        count = 0
        for transport in [*TRANSPORTS, "websocket", "sse"]:
            await page.get_by_label("Transport").select_option(transport)
            for _ in range(5):
                publisher.publish("room.lobby", {"who": "x", "name": "X", "text": str(count)})
                count += 1
            await say(page, f"mine {count}")
            await live(page, transport)
        await expect(said(page)).to_have_count(count + 6)
        texts = await said(page).all_inner_texts()
        assert [text for text in texts if text.isdigit()] == [str(n) for n in range(count)]
        await expect(page.locator("#waiting .said")).to_have_count(0)


async def test_rooms_are_shared_and_what_is_new_in_them_is_marked(start: Starting, visit: Visiting) -> None:
    demo = start("chat")
    one, other = (await visit(demo.url)).page, (await visit(demo.url)).page
    await live(other, "websocket")
    await one.get_by_label("Name of a new room").fill("Tea & biscuits")
    await one.get_by_label("Name of a new room").press("Enter")
    await expect(one.locator("#room-name")).to_have_text("# tea-biscuits")
    await say(one, "anyone?")
    await say(one, "the kettle is on")
    link = other.get_by_role("link", name="# tea-biscuits")
    await expect(link).to_have_text("# tea-biscuits 2")
    await expect(other).to_have_title("(2) # lobby")
    await expect(said(other)).to_have_count(0)

    # Read means read, over a reload, too; and a line shows where the new begins.
    await link.click()
    await expect(said(other)).to_have_text(["anyone?", "the kettle is on"])
    await expect(other.locator(".rule.new")).to_have_count(1)
    await expect(other).to_have_title("# tea-biscuits")
    await other.reload()
    await expect(said(other)).to_have_text(["anyone?", "the kettle is on"])
    await expect(other.locator(".badge")).to_have_count(0)
    await expect(other.locator(".rule.new")).to_have_count(0)


async def test_only_who_said_it_can_mend_it_and_odd_messages_are_passed_over(
    start: Starting, visit: Visiting
) -> None:
    demo = start("chat")
    with tidings.Publisher(demo.url) as publisher:
        page = (await visit(demo.url)).page
        first = publisher.publish("room.lobby", {"who": "a", "name": "A", "text": "mine"})
        publisher.publish("room.lobby", {"who": "b", "text": "yours", "of": first.id}, event="edit")
        odd: Any
        for odd in (None, 7, [], {}, {"who": "a"}, {"who": 1, "text": "x"}, {"text": "x"}):
            publisher.publish("room.lobby", odd)
            publisher.publish("rooms", odd)
            publisher.publish("typing.lobby", odd)
        publisher.publish("room.lobby", {"who": "c", "name": "C", "text": "last"})
        await expect(said(page)).to_have_text(["mine", "last"])
        await expect(page.locator("#rooms li")).to_have_count(3)


async def test_what_waits_for_the_server_is_said_once_when_it_is_back(
    start: Starting, visit: Visiting
) -> None:
    demo = start("chat")
    one, other = (await visit(demo.url, cut=True)).page, (await visit(demo.url, cut=True)).page
    await live(one, "websocket")
    await say(one, "before")
    await expect(said(other)).to_have_text(["before"])
    demo.stop()
    await say(one, "meanwhile")
    await expect(one.locator("#waiting .said")).to_contain_text("on its way")
    demo.start()
    for page in (one, other):
        # The log began anew, and that is drawn as what it is.
        await expect(page.locator("#messages .rule.gap")).to_have_text(re.compile("began anew"))
        await expect(said(page)).to_have_text(["before", "meanwhile"])
    await expect(one.locator("#waiting .said")).to_have_count(0)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_kept_in_a_file_nothing_is_lost_over_a_restart(
    start: Starting, visit: Visiting, transport: str, kept: tuple[str, ...]
) -> None:
    demo = start("chat", *kept)
    address = f"{demo.url}/?transport={transport}"
    one, other = (await visit(address, cut=True)).page, (await visit(address, cut=True)).page
    await live(one, transport)
    await say(one, "before")
    await say(one, "mended")
    await expect(said(one)).to_have_text(["before", "mended"])
    await one.get_by_label("Message", exact=True).press("ArrowUp")
    await say(one, "better")
    await expect(said(other)).to_have_text(["before", "better"])
    demo.stop()
    await say(one, "meanwhile")
    demo.start()
    await say(other, "after")
    third = (await visit(demo.url)).page
    for page in (one, other, third):
        await expect(said(page)).to_have_count(4)
        await expect(page.locator("#messages .rule.gap")).to_have_count(0)
    texts = await said(third).all_inner_texts()
    assert texts[:2] == ["before", "better"]
    assert set(texts[2:]) == {"meanwhile", "after"}
    assert await said(one).all_inner_texts() == texts == await said(other).all_inner_texts()
