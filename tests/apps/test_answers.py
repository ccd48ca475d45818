"""Answers that stream: in every window the same words, each once, whatever is cut or started anew."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.async_api import Locator, Page, expect

import tidings
from apps.stage import TRANSPORTS, Demo, Starting
from browser.stage import Proxy, Site, Visiting, until
from kit import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ANSWERS = Path(__file__).parents[2] / "examples" / "answers"
QUESTION = "What is a cursor?"
# The answer takes some twenty seconds, so that there is time to do something in its midst.
LONG = "What of a cursor, an event stream, a WebSocket, a gap, the order and a proxy?"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("generator", ANSWERS / "generator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load()


def write(url: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(ANSWERS / "generator.py"), "--url", url])


def written(url: str) -> list[int]:
    """Return the numbers of the words that the log has."""
    with urlopen(f"{url}/channels/talk?after=earliest&limit=1000") as answer:
        told = json.load(answer)["messages"]
    return [message["data"]["n"] for message in told if message.get("event") == "token"]


async def ask(page: Page, question: str = QUESTION) -> None:
    await page.get_by_label("Your question").fill(question)
    await page.get_by_label("Your question").press("Enter")


def text(page: Page) -> Locator:
    return page.locator("article .answer")


async def words(page: Page) -> int:
    """Return how many words of the first answer the page shows."""
    return len((await text(page).first.inner_text()).split())


async def reaches(page: Page, count: int) -> None:
    async def there() -> bool:
        return await words(page) >= count

    await until(there)


async def shows_it_whole(page: Page, question: str = QUESTION) -> None:
    """Wait for the end of the answer, and compare every word of it."""
    await expect(page.locator("article .about").first).to_have_text(
        re.compile(r"^\d+ words\."), timeout=60_000
    )
    id_ = await page.locator("article").first.get_attribute("data-id")
    assert id_ is not None
    assert await text(page).first.evaluate("(answer) => answer.textContent") == "".join(
        generator.answer(id_, question)
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_second_window_follows_and_a_reload_goes_on_where_it_was(
    start: Starting, visit: Visiting, transport: str
) -> None:
    demo = start("answers")
    address = f"{demo.url}/?transport={transport}"
    one, other = (await visit(address)).page, (await visit(address, width=360)).page
    await ask(one)
    await reaches(one, 20)
    await reaches(other, 20)
    had = await words(one)
    await one.reload()
    await reaches(one, had)
    for page in (one, other):
        await shows_it_whole(page)
    assert await other.evaluate("document.documentElement.scrollWidth") == 360


async def test_a_cut_a_switch_and_a_second_tab_in_the_middle_lose_no_word(
    start: Starting, visit: Visiting
) -> None:
    demo = start("answers")
    host, _, port = demo.url.removeprefix("http://").rpartition(":")
    with tidings.Publisher(demo.url) as publisher:
        proxy = Proxy(Site(demo.url, host, int(port), publisher))
        await proxy.start()
        try:
            page = (await visit(proxy.url, cut=True)).page
            await ask(page, LONG)
            await reaches(page, 15)
            assert proxy.cut(b"text/event-stream") == 1
            await reaches(page, 30)
            proxy.shut()
            await expect(page.locator("article .about")).to_contain_text("it goes on from there")
            had = await words(page)
            proxy.open()
            await reaches(page, had + 10)
            await page.get_by_label("Transport").select_option("websocket")
            tab = await page.context.new_page()
            await tab.goto(proxy.url)
            for one in (page, tab):
                await shows_it_whole(one, LONG)
        finally:
            await page.context.close()
            await proxy.stop()


async def test_a_writer_that_is_killed_is_followed_by_one_that_goes_on(visit: Visiting) -> None:
    server = ServerProcess("--static", str(ANSWERS), "--history-count", "5000")
    writers = [write(server.url)]
    try:
        page = (await visit(server.url)).page
        await ask(page, LONG)
        for number in (signal.SIGKILL, signal.SIGTERM):
            await reaches(page, await words(page) + 15)
            writers[-1].send_signal(number)
            writers[-1].wait(10)
            writers.append(write(server.url))
        await shows_it_whole(page, LONG)
        # And in the log, too, each word is there once.
        numbers = written(server.url)
        assert numbers == list(range(len(numbers)))
        with tidings.Publisher(server.url) as publisher:
            publisher.publish("talk", {"text": "What is a cursor?"}, event="question")
        await expect(page.locator("article.writing")).to_have_count(1)
        await page.context.close()
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
        server.kill()


async def test_who_has_read_enough_stops_it_everywhere(start: Starting, visit: Visiting) -> None:
    demo = start("answers")
    one, other = (await visit(demo.url)).page, (await visit(demo.url)).page
    await ask(one, LONG)
    await reaches(other, 10)
    await other.get_by_role("button", name="Stop").click()
    for page in (one, other):
        await expect(page.locator("article .about")).to_have_text(re.compile(r"^Stopped after \d+ words\."))
    assert await text(one).inner_text() == await text(other).inner_text()


async def test_a_server_that_begins_anew_is_said_under_the_answer_that_it_lost(
    start: Starting, visit: Visiting
) -> None:
    demo: Demo = start("answers")
    page = (await visit(demo.url, cut=True)).page
    await ask(page, LONG)
    await reaches(page, 10)
    demo.stop()
    demo.start()
    await expect(page.locator("article .about").first).to_contain_text("The server began anew")
    await ask(page)
    await expect(page.locator("article.writing")).to_have_count(1)
    await expect(page.locator("article").nth(1).locator(".about")).to_have_text(
        re.compile(r"^\d+ words\."), timeout=60_000
    )


async def test_kept_in_a_file_an_answer_goes_on_over_a_restart(
    start: Starting, visit: Visiting, kept: tuple[str, ...]
) -> None:
    demo = start("answers", *kept)
    one, other = (await visit(demo.url, cut=True)).page, (await visit(demo.url, cut=True)).page
    await ask(one)
    await reaches(one, 15)
    demo.stop()
    demo.start()
    for page in (one, other):
        await shows_it_whole(page)
