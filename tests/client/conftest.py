"""A peer that says what a test wants it to say, which a real server would not; and a steady clock."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tidings.client import choice

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Play = Callable[[Handler], Awaitable[str]]


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    """What worked for one test's server says nothing to the next on the same port."""
    choice.forget()


# Seconds that the steady clock goes on while the process does something, or waits for a processor.
LEAP = 0.02


@pytest.fixture
async def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop's clock does not see that the process waited for a processor.

    It goes on while the loop waits for what it was told to wait for, and by LEAP at most at any other time.
    So short patiences run out where nothing comes, not where nothing was computed.
    """
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]
    real, select = loop.time, selector.select
    last = now = real()
    waits = 0.0

    def time() -> float:
        nonlocal last, now, waits
        before, last = last, real()
        now += min(last - before, waits + LEAP)
        waits = 0.0
        return now

    def wait(timeout: float | None = None) -> Any:
        nonlocal waits
        time()
        waits = math.inf if timeout is None else max(timeout, 0.0)
        return select(timeout)

    monkeypatch.setattr(loop, "time", time)
    monkeypatch.setattr(selector, "select", wait)


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Start a server with one handler for everything; the result is its URL."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()
