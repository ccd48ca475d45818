"""A peer that says what a test wants it to say, for what a real server does not do on demand."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from tidings.client import choice

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Play = Callable[[Handler], Awaitable[str]]


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    """What worked for one test's server says nothing to the next on the same port."""
    choice.forget()


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
