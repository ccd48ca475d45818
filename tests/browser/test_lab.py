"""The lab in a real Chromium: what a person sees and does in it."""

import asyncio
import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.async_api import Locator, Page, expect

import tidings
from browser.stage import Proxy, Site, Visiting, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PANELS = ["polling", "long-polling", "sse", "websocket"]
NOTHING = "\N{EN DASH}"  # where there is no figure yet


def figure(page: Page, panel: str, name: str, kind: str = "figure") -> Locator:
    return page.locator(f'#{panel} [data-{kind}="{name}"]')


async def all_live(page: Page) -> None:
    for panel in PANELS:
        await expect(page.locator(f"#{panel} .state")).to_have_text("live")


async def messages(page: Page, panel: str) -> int:
    return int((await figure(page, panel, "messages").inner_text()).replace(",", ""))


async def set_load(page: Page, rate: float, interval: float) -> None:
    """Move the sliders, whose scale is logarithmic: 0 is one a second, and one second."""
    await page.get_by_role("slider", name="Messages").fill(f"{rate:g}")
    await page.get_by_role("slider", name="Polling asks every").fill(f"{interval:g}")


@pytest.mark.slow
async def test_all_four_panels_count_the_same_messages_and_say_what_the_formula_says(
    site: Site, visit: Visiting
) -> None:
    page = (await visit(f"{site.url}/lab")).page
    await all_live(page)
    await set_load(page, 1.0, -0.5)  # ten a second, and a poll every 0.32 s
    for panel in PANELS:

        async def some(panel: str = panel) -> bool:
            return await messages(page, panel) >= 10

        await until(some)
        for name in ("delay", "bytes", "requests"):
            await expect(figure(page, panel, name)).not_to_have_text(NOTHING)
            await expect(figure(page, panel, name, "said")).not_to_have_text(NOTHING)
    # Paused, and when a poll finds nothing, the next message comes alone: of many the wire view shows a part.
    await page.get_by_role("button", name="Pause").click()
    empty = page.locator("#polling .wire .down").first
    await expect(empty).to_contain_text('{"messages":[]')
    one = page.get_by_role("button", name="Publish one")
    async with page.expect_request(lambda request: request.method == "POST") as last:
        await one.click()
    body = (await last.value).post_data_json
    assert body is not None
    number = body["n"]
    for panel in PANELS:
        said = page.locator(f"#{panel} .wire").get_by_text(f'"n":{number},')
        await expect(said).not_to_have_count(0)
    # Once it is everywhere and a poll finds nothing, none is on its way.
    await expect(empty).to_contain_text('{"messages":[]')
    await page.get_by_role("button", name="Count anew").click()
    for _ in range(5):
        await one.click()
    for panel in PANELS:
        await expect(figure(page, panel, "messages")).to_have_text("5")
    assert await page.locator(".chart canvas").count() == 2


async def test_the_wire_view_shows_a_hanging_get_that_hangs_until_there_is_a_message(
    site: Site, visit: Visiting
) -> None:
    page = (await visit(f"{site.url}/lab")).page
    await all_live(page)
    await page.get_by_role("button", name="Pause").click()
    hanging = page.locator("#long-polling .wire .hanging")
    await expect(hanging).to_have_count(1)
    await expect(hanging.locator("code")).to_have_text(
        re.compile(r"^GET /channels/lab-\w+\?after=\S+&wait=25$")
    )
    await expect(hanging.locator(".since")).to_have_text(re.compile(r"^hangs, [1-9]\d?\.\d s$"))
    asked = await hanging.locator("code").inner_text()
    await page.get_by_role("button", name="Publish one").click()
    # It is answered with that message, and the next one hangs behind it.
    answered = page.locator("#long-polling .wire .up").filter(has_text=asked)
    await expect(answered.locator(".since")).to_have_text(re.compile(r"^hung \d"))
    await expect(page.locator("#long-polling .wire .down").first).to_have_text(
        re.compile(r'200 OK\s+\{"messages":\[\{"id":"\S+","channel":"lab-\w+".*"due_ms":')
    )
    await expect(hanging).to_have_count(1)
    assert await hanging.locator("code").inner_text() != asked


async def test_the_wire_view_shows_each_transport_as_it_is(site: Site, visit: Visiting) -> None:
    page = (await visit(f"{site.url}/lab")).page
    await all_live(page)
    await page.get_by_role("button", name="Pause").click()  # only the latest are kept
    await page.get_by_role("button", name="Publish one").click()
    rows = {panel: page.locator(f"#{panel} .wire li code") for panel in PANELS}
    await expect(rows["polling"].filter(has_text='200 OK  {"messages":[],"cursor":')).not_to_have_count(0)
    await expect(rows["sse"].filter(has_text="Accept: text/event-stream")).to_have_count(1)
    await expect(rows["sse"].filter(has_text=re.compile(r"^id: \S+\s+data: \{"))).not_to_have_count(0)
    await expect(rows["websocket"].filter(has_text="101 Switching Protocols")).to_have_count(1)
    await expect(rows["websocket"].filter(has_text='{"message":{"id":')).not_to_have_count(0)


@pytest.mark.slow
async def test_a_slider_begins_the_counting_anew_and_the_formulas_follow_it(
    site: Site, visit: Visiting
) -> None:
    page = (await visit(f"{site.url}/lab")).page
    await all_live(page)
    await set_load(page, 1.0, -1)
    await expect(page.locator("#rate-value")).to_have_text("10 a second")
    await expect(page.locator("#interval-value")).to_have_text("0.1 s")
    said = figure(page, "polling", "empty", "said")
    await expect(said).to_have_text("37 %")  # e^-1
    await expect(figure(page, "polling", "requests", "said")).to_have_text("1.00")

    async def counted() -> bool:
        return await messages(page, "websocket") >= 20

    await until(counted)
    # It is noted in the page, for it has soon counted as many again.
    await page.evaluate(
        """() => {
          window.least = Infinity;
          const count = document.querySelector('#websocket [data-figure="messages"]');
          const note = () => (least = Math.min(least, Number(count.textContent.replace(",", ""))));
          new MutationObserver(note).observe(count, { childList: true, characterData: true, subtree: true });
        }"""
    )
    await page.get_by_role("slider", name="Polling asks every").fill("1")

    async def few() -> bool:
        return bool(await page.evaluate("least < 20"))

    await until(few)
    await expect(said).to_have_text("0 %")
    await expect(page.locator("#command")).to_have_text("tidings lab --rate 10 --interval 10")


@pytest.mark.slow
async def test_the_lab_works_with_the_keyboard_alone(site: Site, visit: Visiting) -> None:
    page = (await visit(f"{site.url}/lab")).page
    await all_live(page)
    reached = []
    for _ in range(11):
        await page.keyboard.press("Tab")
        reached.append(
            await page.evaluate(
                "document.activeElement.id || document.activeElement.getAttribute('aria-labelledby') || "
                "document.activeElement.tagName"
            )
        )
    wires = [f"{panel}-title {panel}-wire" for panel in PANELS]
    assert reached[:6] == ["A", "rate", "interval", "pause", "one", "anew"]
    assert [at for at in reached if at in wires] == wires  # each wire scrolls by the keyboard
    await page.get_by_role("slider", name="Messages").focus()
    before = await page.locator("#rate-value").inner_text()
    for _ in range(10):
        await page.keyboard.press("ArrowRight")
    await expect(page.locator("#rate-value")).not_to_have_text(before)
    pause = page.locator("#pause")
    await pause.focus()
    await page.keyboard.press("Space")
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await expect(pause).to_have_text("Go on")
    await expect(page.locator("#said")).to_contain_text("Messages are paused")
    await page.keyboard.press("Enter")
    await expect(pause).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("width", [360, 800, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_scrolls_sideways(site: Site, visit: Visiting, width: int, scheme: str) -> None:
    page = (await visit(f"{site.url}/lab", width=width, color_scheme=scheme)).page
    await all_live(page)
    await set_load(page, 1.3, -1)

    async def heard() -> bool:
        return await messages(page, "websocket") >= 5

    await until(heard)
    wide, inside = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inside


async def test_the_first_page_leads_to_the_lab_and_back(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)  # who leaves a page whose socket is just being opened is warned in the console
    await page.get_by_role("link", name="the lab").click()
    await expect(page).to_have_title("Tidings: the lab")
    await all_live(page)
    await page.get_by_role("link", name="Tidings").click()
    await expect(page).to_have_title("Tidings: one log, four ways to wait")
    await all_live(page)


async def test_a_server_that_is_away_is_told_and_what_was_missed_comes_with_it(
    site: Site, proxy: Proxy, visit: Visiting
) -> None:
    page = (await visit(f"{proxy.url}/lab", cut=True)).page
    await all_live(page)
    proxy.shut()
    await expect(page.locator("#failed")).to_contain_text("nobody answers; is the server running?")
    for panel in PANELS:
        await expect(page.locator(f"#{panel} .state")).to_have_text(re.compile("^(reconnecting|connecting)"))
    proxy.open()
    await all_live(page)
    await expect(page.locator("#failed")).to_be_empty()


async def test_the_page_bears_a_strict_policy_and_its_charts_their_licence(site: Site) -> None:
    def policy() -> str:
        with urlopen(f"{site.url}/lab") as answer:
            return str(answer.headers["Content-Security-Policy"])

    assert "script-src 'self'; style-src 'self'" in await asyncio.to_thread(policy)
    assert "MIT" in (Path(tidings.__file__).parent / "web/vendor/uplot/LICENSE").read_text()


async def test_two_labs_do_not_disturb_each_other(site: Site, visit: Visiting) -> None:
    first = (await visit(f"{site.url}/lab")).page
    second = (await visit(f"{site.url}/lab")).page
    channels = [await page.locator("#channel").text_content() for page in (first, second)]
    assert len(set(channels)) == 2
    for page in (first, second):
        await all_live(page)  # a socket that is closed while it is being opened is a warning in the console


async def test_strangers_messages_are_not_counted(site: Site, visit: Visiting) -> None:
    page = (await visit(f"{site.url}/lab")).page
    await all_live(page)
    await page.get_by_role("button", name="Pause").click()
    channel = await page.locator("#channel").text_content()
    assert channel is not None
    await asyncio.to_thread(site.publish, channel, {"n": 1})
    await asyncio.to_thread(site.publish, channel, "<b>text</b>")
    await expect(page.locator("#websocket .wire").get_by_text("<b>text</b>")).to_have_count(1)
    assert await page.locator("#websocket .wire b").count() == 0
    await page.get_by_role("button", name="Count anew").click()
    await page.get_by_role("button", name="Publish one").click()
    await expect(figure(page, "websocket", "messages")).to_have_text("1")
