"""Fixtures of the tests that speak to a server from outside; each folder's conftest.py takes them from here.

Starting a server costs half a second, so tests share one where they can: each on channels of its own.
"""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

import raw
from kit import ServerProcess, serving

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared() -> Iterator[ServerProcess]:
    """A server for many tests."""
    with serving("--drain", "0.2") as running:
        yield running


@pytest.fixture
def channel() -> str:
    """A channel name that no other test uses."""
    return f"test-{next(_numbers)}"


@pytest.fixture(autouse=True)
async def _clean(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """After each test: no connection is left, at the shared server neither, and none wrote a traceback."""
    servers = [request.getfixturevalue(name) for name in ("shared", "server") if name in request.fixturenames]
    seen = [len(server.errors) for server in servers]
    yield
    await raw.close_all()
    if "shared" in request.fixturenames:
        await raw.until_metric(request.getfixturevalue("shared"), "tidings_connections", 1)  # who asks
    for server, before in zip(servers, seen, strict=True):
        written = "".join(server.errors[before:])
        assert "Traceback" not in written, written
