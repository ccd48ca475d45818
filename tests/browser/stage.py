"""What the browser tests stand on: a site to publish to, a visit to it, and a proxy that cuts connections.

Owns: what they are; conftest.py says how a test gets them. Does not own: the server (kit.py).
Invariant: the proxy passes bytes on as they are, and cuts only where it is told to.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import ConsoleMessage, Page

import tidings


async def until(condition: Callable[[], Awaitable[bool]], within: float = 40) -> None:
    """Wait for `condition`; raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - a page cannot set an Event of ours
            await asyncio.sleep(0.02)


@dataclass
class Site:
    """A running server, and how to publish to it without a browser."""

    url: str
    host: str
    port: int
    publisher: tidings.Publisher

    def publish(self, channel: str, data: Any) -> str:
        """Publish, and return the message's id."""
        return self.publisher.publish(channel, data).id


@dataclass
class Visit:
    """One page in a browser context of its own, and what went wrong in it."""

    page: Page
    origin: str
    problems: list[str] = field(default_factory=list)

    def heard_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"console {message.type}: {message.text}")

    def heard_address(self, url: str) -> None:
        if not url.startswith((self.origin + "/", self.origin.replace("http", "ws", 1) + "/")):
            self.problems.append(f"request to another origin: {url}")


Visiting = Callable[..., Awaitable[Visit]]


class Proxy:
    """Passes TCP on to `target` and, when told, cuts connections from its own side, in the midst of it all.

    A connection is known by a piece of its request's head (`text/event-stream`, say).
    """

    def __init__(self, target: Site) -> None:
        self.target = target
        self.up = self.down = 0  # bytes passed on, to the server and to the browser
        self._links: list[_Link] = []
        self._shut = False
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.shut()
        await asyncio.gather(*(link.task for link in self._links), return_exceptions=True)

    def carrying(self, mark: bytes) -> list["_Link"]:
        """Return the open connections whose latest request holds `mark`."""
        return [link for link in self._links if not link.cut and mark in link.head]

    def cut(self, mark: bytes = b"") -> int:
        """Reset the connections that carry `mark`; return how many there were."""
        links = self.carrying(mark)
        for link in links:
            link.abort()
        return len(links)

    def shut(self) -> None:
        """Cut all, and every new connection at once, until `open`."""
        self._shut = True
        self.cut()

    def open(self) -> None:
        self._shut = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = _Link(writer, task)
        self._links.append(link)
        if self._shut:
            link.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(self.target.host, self.target.port)
        except OSError:
            link.abort()
            return
        link.far = far_writer
        with suppress(ConnectionError):
            await asyncio.gather(
                self._pass_up(link, reader, far_writer), self._pass_down(link, far_reader, writer)
            )
        link.abort()

    async def _pass_up(
        self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if data.startswith((b"GET ", b"POST ")):
                link.head = data  # the request it carries now; a browser uses one connection for many
            self.up += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _pass_down(
        self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if link.cut_after is not None:
                data = data[: link.cut_after]
                link.cut_after -= len(data)
            self.down += len(data)
            writer.write(data)
            await writer.drain()
            if link.cut_after == 0:
                break
        link.end()


class _Link:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, task: asyncio.Task[Any]) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.task = task
        self.head = b""
        self.cut = False
        # How many more bytes go to the browser before the connection is cut; None: as many as come.
        self.cut_after: int | None = None

    def abort(self) -> None:
        self.cut = True
        self.near.transport.abort()
        if self.far is not None:
            self.far.transport.abort()

    def end(self) -> None:
        """End it politely: what was written still arrives."""
        self.cut = True
        self.near.close()
        if self.far is not None:
            self.far.transport.abort()
