"""The heads that the lab sends are as long as a real browser's."""

import asyncio
import shutil

import pytest
from playwright.async_api import async_playwright

from tidings.lab import heads

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ASK = """() => {
  fetch("/channels/lab?after=95ca325659-123");
  new EventSource("/channels/lab");
  new WebSocket("ws://" + location.host + "/channels/lab", "tidings.v1");
}"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH")
async def test_a_browsers_heads_have_the_same_headers_and_nearly_the_same_length() -> None:
    came: dict[str, bytes] = {}
    all_came = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /channels/"):
            kind = "fetch" if b"after=" in head else "stream" if b"event-stream" in head else "socket"
            came[kind] = head
            if len(came) == 3:
                all_came.set()
        body = b"<title>a page</title>"
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nReferrer-Policy: no-referrer\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"http://{host}/")
        await page.evaluate(ASK)
        async with asyncio.timeout(30):
            await all_came.wait()
        await browser.close()
    server.close()
    ours = {
        "fetch": heads.fetch("/channels/lab?after=95ca325659-123", host),
        "stream": heads.event_source("/channels/lab", host),
        "socket": heads.web_socket("/channels/lab", host, "dGlkaW5ncyBleGFtcGxlIQ=="),
    }
    for kind, head in ours.items():
        assert names(head) == names(came[kind])
        assert len(head) == pytest.approx(len(came[kind]), rel=0.05)


def names(head: bytes) -> set[str]:
    return {line.partition(":")[0].lower() for line in head.decode().split("\r\n")[1:] if line}
