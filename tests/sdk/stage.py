"""What the SDK's tests stand on: a server to publish to, and tabs with a client in each.

Owns: what they are; conftest.py says how a test gets them. Does not own: the server (kit.py).
Invariant: a tab keeps all that its client told it, in its order.
"""

import asyncio
import json
import re
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import BrowserContext, Page

import tidings
from kit import ServerProcess

# Of the server's own origin, and without a client or a policy of its own.
BLANK = "/livez"

_CONNECT = """
async ([channels, options, start]) => {
  const { connect } = await import("/tidings.js");
  window.heard = [];
  window.gaps = [];
  window.states = [];
  window.client = connect(options);
  client.on("state", (state) => states.push(state));
  for (const name of channels) window.listen(name, start);
}
"""
_PREPARE = """
void (window.listen = (name, start) => {
  const channel = client.channel(name, start);
  const stops = [
    channel.on((message) => heard.push(message.data)),
    channel.on("gap", (gap) => gaps.push(gap)),
  ];
  return () => stops.forEach((stop) => stop());
});
"""


# A client whose server was away may wait for up to 20 s: so long is the backoff's cap.
PATIENCE = 30.0


async def until(condition: Callable[[], Awaitable[Any]], within: float = PATIENCE) -> None:
    """Wait for `condition`; raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - a page cannot set an Event of ours
            await asyncio.sleep(0.02)


class Site:
    """A running server, and how to publish to it without a browser."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.url = server.url

    def publish(self, channel: str, *data: Any) -> None:
        with tidings.Publisher(self.url) as publisher:
            for one in data:
                publisher.publish(channel, one)

    def metric(self, name: str) -> int:
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as answer:
            found = re.search(rf"^tidings_{name} (\S+)", answer.read().decode(), re.MULTILINE)
        assert found, name
        return int(float(found[1]))

    async def settles(self, name: str, wanted: int) -> None:
        """Wait until a figure is `wanted`: the server hears of a connection's end when it is told."""
        await until(lambda: asyncio.to_thread(lambda: self.metric(name) == wanted))

    def history(self, channel: str) -> list[Any]:
        """Return the data of all messages that the server keeps."""
        with urllib.request.urlopen(f"{self.url}/channels/{channel}?after=earliest", timeout=10) as answer:
            return [message["data"] for message in json.loads(answer.read())["messages"]]


class Tab:
    """One tab. `heard`, `gaps` and `states` are what its client told it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.context: BrowserContext = page.context
        self._url = url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def load(self) -> None:
        await self.page.goto(self._url + BLANK)
        await self.page.evaluate(_PREPARE)

    async def reload(self) -> None:
        await self.page.reload()
        await self.page.evaluate(_PREPARE)

    async def connect(self, *channels: str, start: Any = None, **options: Any) -> None:
        await self.page.evaluate(_CONNECT, [channels, options, start])

    async def see(self, expression: str) -> Any:
        return await self.page.evaluate(expression)

    async def heard(self) -> list[Any]:
        found: list[Any] = await self.page.evaluate("heard")
        return found

    async def explain(self) -> Any:
        return await self.page.evaluate("client.explain()")

    async def live(self) -> None:
        """Wait until it is connected, and what is published from now on is heard on each of its channels."""
        await self.reach("client.state.name === 'live'")
        await self.reach("client.explain().channels.every((name) => client.explain().began.includes(name))")

    async def reach(self, expression: str, within: float = PATIENCE) -> None:
        """Wait for `expression` to be true in the page, and tell what the client says where it is not."""
        try:
            await until(lambda: self.page.evaluate(expression), within)
        except TimeoutError:
            raise AssertionError(f"{expression}: {json.dumps(await self.explain(), indent=1)}") from None

    async def hears(self, *data: Any) -> None:
        """Wait until the tab has heard as many, and make sure that it is these, in this order, each once."""
        await self.reach(f"heard.length >= {len(data)}")
        assert await self.heard() == list(data), await self.explain()


Tabs = Callable[..., Awaitable[Tab]]
