"""The first page in a real Chromium: what a person sees and does on it."""

import asyncio
import itertools
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from browser.stage import Proxy, Site, Visiting, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PANELS = ["polling", "long-polling", "sse", "websocket"]
FEED = Path(__file__).parents[2] / "examples" / "machine_feed.py"


async def all_live(page: Page) -> None:
    for panel in PANELS:
        await expect(page.locator(f"#{panel} .state")).to_have_text("live")


async def hear(page: Page, note: str) -> None:
    """Wait until every panel shows `note`, and make sure that each shows it once."""
    for panel in PANELS:
        await expect(notes(page, panel).filter(has_text=note)).to_have_count(1)


def notes(page: Page, panel: str) -> Locator:
    return page.locator(f"#{panel} .notes .message")


async def figure(page: Page, panel: str, name: str) -> str:
    return (await page.locator(f'#{panel} [data-figure="{name}"]').inner_text()).strip()


def bytes_of(figure: str) -> float:
    """Read "12.3 kB"."""
    number, unit = figure.replace(",", "").split()
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]


async def test_all_four_panels_show_the_same_published_note(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    await page.get_by_label("Publish to notes").fill("hello <b>there</b>")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await hear(page, "hello <b>there</b>")
    ids = {await notes(page, panel).first.get_attribute("data-id") for panel in PANELS}
    assert len(ids) == 1
    await expect(page.locator("#published")).to_contain_text(f"Published as {ids.pop()}")
    for panel in PANELS:
        assert await page.locator(f"#{panel} b b").count() == 0, "a message's text became markup"


async def test_a_note_from_elsewhere_shows_whatever_json_it_is(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    site.publish("notes", {"n": 1})
    await hear(page, '{"n":1}')


async def test_polling_counts_empty_answers_while_nothing_is_published(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    await expect(page.locator('#polling [data-figure="empty"]')).to_have_text(
        re.compile(r"^([5-9]|[1-9]\d+) \(100 %\)$")
    )
    # Meanwhile long-polling asked where it stands, and has hung since; the streams asked once.
    assert await figure(page, "long-polling", "requests") == "2"
    assert await figure(page, "sse", "requests") == "1"
    assert await figure(page, "websocket", "requests") == "1"


async def pauses(page: Page, count: int) -> list[float]:
    """Return the seconds between the next polls, by the browser's own clock: we are told too late of some."""
    asked: list[float] = []
    since = await page.evaluate("(performance.clearResourceTimings(), performance.now())")

    async def enough() -> bool:
        asked[:] = await page.evaluate(
            """(since) => performance.getEntriesByType("resource")
              .filter(({ initiatorType, name }) => initiatorType === "fetch" && !name.includes("wait="))
              .filter(({ startTime }) => startTime >= since).map(({ startTime }) => startTime / 1000)""",
            since,
        )
        return len(asked) > count

    await until(enough)
    return [later - earlier for earlier, later in itertools.pairwise(asked[: count + 1])]


@asynccontextmanager
async def busy(site: Site) -> AsyncIterator[None]:
    """Publish all the while, so that asking often is advised."""

    async def publish() -> None:
        while True:
            site.publish("machine", {"not": "a reading"})
            await asyncio.sleep(0.05)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])


async def test_the_slider_changes_how_often_polling_asks(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)

    slider = page.get_by_label("Polling asks every")
    await slider.fill("10")
    await expect(page.locator("#interval-value")).to_have_text("10 s")
    await slider.fill("0.25")  # and does not wait for the ten seconds to pass

    async def often() -> bool:
        return statistics.median(await pauses(page, 6)) < 0.5

    await until(often)
    await slider.fill("1.5")
    assert min(await pauses(page, 2)) > 1.2


async def test_polling_follows_the_servers_advice_where_it_is_told_to(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    slider, value = page.get_by_label("Polling asks every"), page.locator("#interval-value")
    box = page.get_by_role("checkbox", name="as the server advises")
    await expect(box).not_to_be_checked()
    await expect(value).to_have_text("0.3 s")

    # Nothing was published yet, so asking often is in vain.
    await box.focus()
    await page.keyboard.press("Space")
    await expect(box).to_be_checked()
    await expect(value).to_have_text("5 s")
    await expect(slider).to_have_value("5")
    assert await slider.get_attribute("aria-valuetext") == "5 s"

    async with busy(site):
        await expect(value).to_have_text("0.25 s")
        await expect(slider).to_have_value("0.25")
        await expect(box).to_be_checked()

    # Whoever moves the slider has the say again, and keeps it.
    await slider.focus()
    await page.keyboard.press("End")
    await expect(box).not_to_be_checked()
    await expect(value).to_have_text("10 s")
    await slider.fill("0.6")
    assert statistics.median(await pauses(page, 6)) > 0.5
    await expect(value).to_have_text("0.6 s")

    # Unticked, it stays where the advice had led, though less is advised with every second of silence.
    async def unticked_at_the_least() -> bool:
        await box.check()
        await expect(value).to_have_text("0.25 s")
        await box.uncheck()
        return await value.inner_text() == "0.25 s"

    async with busy(site):
        await until(unticked_at_the_least)
    await pauses(page, 10)
    await expect(value).to_have_text("0.25 s")
    await expect(slider).to_have_value("0.25")


async def test_everything_works_by_keyboard(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)

    async def tab() -> str:
        await page.keyboard.press("Tab")
        return str(
            await page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )

    focused = [await tab() for _ in range(16)]
    assert focused[0] == "What each of them costs: the lab"
    assert focused[1:6] == ["note", "Publish", "interval", "advised", "How to read and what is counted"]
    assert focused.count("Copy") == 5

    await page.locator("#note").focus()
    await page.keyboard.type("by hand")
    await page.keyboard.press("Enter")
    await hear(page, "by hand")
    await expect(page.locator("#note")).to_have_value("")

    await page.locator("#interval").focus()
    await page.keyboard.press("End")
    await expect(page.locator("#interval-value")).to_have_text("10 s")
    assert await page.locator("#interval").get_attribute("aria-valuetext") == "10 s"

    await page.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".counting p").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_scrolls_sideways_on_a_narrow_screen(site: Site, visit: Visiting, scheme: str) -> None:
    page = (await visit(site.url, width=360, color_scheme=scheme)).page
    await all_live(page)
    site.publish("notes", "word " * 60 + "unbroken" * 20)
    # Wide figures, too.
    site.publish("machine", {"cpu_percent": 100, "memory_used_bytes": 1e9, "memory_total_bytes": 8e9,
                             "network_in_bytes_per_second": 1, "network_out_bytes_per_second": 1,
                             "loopback_bytes_per_second": 123456})  # fmt: skip
    await hear(page, "unbroken")
    await page.locator("summary").click()
    assert await page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]") == [
        360,
        360,
    ]


async def test_the_policy_lets_no_foreign_script_run(site: Site, visit: Visiting) -> None:
    visited = await visit(site.url, cut=True)  # the refused script is an error in the console, and meant
    page = visited.page
    answer = await page.request.get(site.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    await all_live(page)
    assert visited.problems == []
    refused = await page.evaluate(
        """() => new Promise((resolve) => {
          addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
        })"""
    )
    assert refused.startswith("script-src")
    assert await page.evaluate("window.ran") is None


async def test_a_silent_feed_is_said_to_be_stale_and_since_when(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    site.publish("machine", {"not": "a reading"})
    for panel in PANELS:
        await expect(page.locator(f"#{panel} .state")).to_have_text(
            re.compile(r"^stale since \d\d:\d\d:\d\d$")
        )
    for panel in PANELS:

        async def lives(panel: str = panel) -> bool:
            site.publish("machine", {"cpu_percent": "odd"})  # again, for each is stale again in five seconds
            return await page.locator(f"#{panel} .state").inner_text() == "live"

        await until(lives)


async def test_all_four_come_back_after_a_cut_and_miss_nothing(
    site: Site, proxy: Proxy, visit: Visiting
) -> None:
    page = (await visit(proxy.url, cut=True)).page
    await all_live(page)
    site.publish("notes", "before")
    await hear(page, "before")
    proxy.shut()
    for panel in PANELS:
        await expect(page.locator(f"#{panel} .state")).to_have_text(re.compile("^reconnecting"))
    site.publish("notes", "meanwhile")
    proxy.open()
    await hear(page, "meanwhile")
    site.publish("notes", "after")
    await hear(page, "after")
    for panel in PANELS:
        assert await notes(page, panel).locator(".text").all_inner_texts() == ["after", "meanwhile", "before"]
        assert await page.locator(f"#{panel} .gap").count() == 0


async def test_a_new_life_of_the_log_shows_as_a_gap_in_all_four(
    site: Site, second_site: Site, proxy: Proxy, visit: Visiting
) -> None:
    page = (await visit(proxy.url, cut=True)).page
    await all_live(page)
    site.publish("notes", "in the first life")
    await hear(page, "in the first life")
    proxy.shut()
    proxy.target = second_site
    second_site.publish("notes", "in the second life")
    proxy.open()
    await hear(page, "in the second life")
    for panel in PANELS:
        await expect(page.locator(f"#{panel} .gap")).to_have_count(1)
        await expect(page.locator(f"#{panel} .gap")).to_contain_text("the server began a new log")
    await all_live(page)


async def test_a_stream_that_has_run_its_time_goes_on_without_a_word(
    hurried_site: Site, visit: Visiting
) -> None:
    page = (await visit(hurried_site.url)).page
    await all_live(page)
    await page.evaluate(
        """() => {
          window.said = [];
          const state = document.querySelector("#sse .state");
          new MutationObserver(() => said.push(state.textContent)).observe(state, { childList: true });
        }"""
    )
    published = 0

    async def begun(streams: int) -> bool:
        nonlocal published
        published += 1
        hurried_site.publish("notes", published)
        return int(await figure(page, "sse", "requests")) > streams

    await until(lambda: begun(3), within=60)
    await expect(page.locator('#sse [data-figure="messages"]')).to_have_text(f"{published:,}")
    await expect(page.locator("#sse .state")).to_have_text("live")
    assert await page.evaluate("said") == []
    assert await page.locator("#sse .gap").count() == 0


async def test_a_page_that_is_put_away_resumes_where_it_was(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    site.publish("notes", "seen")
    await hear(page, "seen")
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    site.publish("notes", "while it was away")
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await hear(page, "while it was away")


async def test_the_bytes_shown_are_about_those_on_the_wire(proxy: Proxy, site: Site, visit: Visiting) -> None:
    page = (await visit(proxy.url)).page
    await all_live(page)

    async def shown(name: str) -> float:
        return sum([bytes_of(await figure(page, panel, name)) for panel in PANELS])

    async def messages(count: int) -> None:
        for panel in PANELS:
            await expect(page.locator(f'#{panel} [data-figure="messages"]')).to_have_text(str(count))

    # Polling, whose heads are estimated, asks in vain; nothing else moves.
    up, down = proxy.up - await shown("up"), proxy.down - await shown("down")
    asked = int(await figure(page, "polling", "requests"))

    async def thirty_more() -> bool:
        return int(await figure(page, "polling", "requests")) >= asked + 30

    await until(thirty_more)

    async def agree() -> bool:
        # The page draws its figures now and then, so a look may fall between.
        return await shown("up") == pytest.approx(proxy.up - up, rel=0.1) and await shown(
            "down"
        ) == pytest.approx(proxy.down - down, rel=0.1)

    await until(agree)

    # Then the others carry messages.
    site.publish("notes", "first")
    await messages(1)
    up, down = proxy.up - await shown("up"), proxy.down - await shown("down")
    for n in range(2, 14):
        site.publish("notes", "x" * 200)
        await messages(n)
    await until(agree)


async def test_the_machine_feed_fills_the_strip_and_ends_cleanly(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    feed = subprocess.Popen(  # noqa: ASYNC220 - started and ended here, never waited for while the page needs the loop
        [sys.executable, str(FEED), "--url", site.url, "--every", "0.1"], stderr=subprocess.PIPE, text=True
    )
    try:
        for value in ["cpu", "memory", "in", "out", "loopback"]:
            await expect(page.locator(f'[data-value="{value}"]')).to_have_text(re.compile(r"^\d"))
        await expect(page.locator("#machine-state")).to_contain_text("first here by")
    finally:
        feed.send_signal(signal.SIGTERM)
        _, talk = await asyncio.to_thread(feed.communicate, timeout=10)
    await expect(page.locator("#machine-state")).to_contain_text("silent since")
    assert feed.returncode == 0
    assert "publishing to" in talk
    assert "Traceback" not in talk


@pytest.mark.skipif(shutil.which("curl") is None, reason="no `curl` on PATH")
async def test_every_curl_line_on_the_page_does_what_it_says(site: Site, visit: Visiting) -> None:
    page = (await visit(site.url)).page
    await all_live(page)
    lines = {kind: await page.locator(f"#lines .{kind} code").inner_text() for kind in [*PANELS, "publish"]}
    assert all(site.url in line for line in lines.values())

    async def run(line: str) -> asyncio.subprocess.Process:
        # `exec`, so that it is curl itself and not a shell around it that is ended below.
        return await asyncio.create_subprocess_shell(f"exec {line}", stdout=asyncio.subprocess.PIPE)

    async def read_until(process: asyncio.subprocess.Process, mark: bytes) -> bytes:
        assert process.stdout is not None
        seen = b""
        while mark not in seen:
            part = await asyncio.wait_for(process.stdout.read(4096), 15)
            assert part, f"ended with {seen!r}"
            seen += part
        return seen

    hanging = await run(lines["long-polling"])
    streams = [await run(lines["sse"]), await run(lines["websocket"])]
    try:
        for stream in streams:
            await read_until(stream, b"ready")
        published, _ = await (await run(lines["publish"])).communicate()
        message = json.loads(published)["id"].encode()
        for stream in streams:
            assert b'"data":"hello"' in await read_until(stream, message)
        polled, _ = await (await run(lines["polling"])).communicate()
        assert json.loads(polled)["messages"][-1]["data"] == "hello"
        # Whether it hung in time or not, it is answered: by that note, or by the next after it has asked.
        answer = asyncio.ensure_future(hanging.communicate())
        async with asyncio.timeout(15):
            while not answer.done():
                site.publish("notes", "hello")
                await asyncio.wait([answer], timeout=0.5)
        answered, _ = answer.result()
        assert json.loads(answered)["messages"][0]["data"] == "hello"
    finally:
        for stream in streams:
            stream.kill()
            await stream.wait()
