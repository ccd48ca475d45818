"""The fixtures of tests/fixtures.py, and the neighbours who must notice nothing."""

from collections.abc import AsyncIterator

import pytest

from fixtures import _clean, channel, shared
from kit import ServerProcess
from story.clients import Publisher, connect

__all__ = ["_clean", "channel", "neighbours", "shared"]


@pytest.fixture
async def neighbours(shared: ServerProcess, channel: str) -> AsyncIterator[None]:
    """A WebSocket, an event stream and a poller that still hear everything when the test is over."""
    name = f"{channel}-neighbours"
    publisher = Publisher(shared)
    clients = [
        await connect(shared, transport, name)
        for transport in ("polling", "long-polling", "sse", "websocket")
    ]
    yield
    await publisher.say(name, "still here")
    for client in clients:
        assert await client.data(1) == ["still here"]
        assert client.gaps == []
