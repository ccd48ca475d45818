"""The Python client: follow channels and publish from asyncio, publish from plain code.

    async with connect("http://127.0.0.1:8080") as client:
        await client.publish("news", {"n": 1})
        async for item in client.subscribe("news", rewind=1):
            print(item)          # a Message, or a Gap

    with Publisher("http://127.0.0.1:8080") as publisher:
        publisher.publish("news", {"n": 1})

What needs aiohttp loads it when it is first asked for, so that a program that only publishes starts quickly.
"""

from typing import TYPE_CHECKING, Any

from tidings.client.address import BadAddress
from tidings.client.errors import BadAnswer, ClientError, NotAcknowledged, Refused, Unreachable
from tidings.client.items import Gap, Message
from tidings.client.publisher import Publisher
from tidings.client.receipt import Receipt
from tidings.client.state import State

if TYPE_CHECKING:
    from tidings.client.client import Client, connect, follow
    from tidings.client.feed import Feed

__all__ = [
    "BadAddress",
    "BadAnswer",
    "Client",
    "ClientError",
    "Feed",
    "Gap",
    "Message",
    "NotAcknowledged",
    "Publisher",
    "Receipt",
    "Refused",
    "State",
    "Unreachable",
    "connect",
    "follow",
]


def __getattr__(name: str) -> Any:
    if name in {"Client", "Feed", "connect", "follow"}:
        from tidings.client import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
