"""The Python client: publish from plain code, follow channels from asyncio.

    with Publisher("http://127.0.0.1:8080") as publisher:
        publisher.publish("news", {"n": 1})

    async with follow("http://127.0.0.1:8080", "news") as feed:
        async for item in feed:
            print(item)          # a Message, or a Gap

`follow` loads aiohttp when it is first asked for, so that a program that only publishes starts quickly.
"""

from typing import TYPE_CHECKING, Any

from tidings.client.address import BadAddress
from tidings.client.errors import BadAnswer, ClientError, Refused, Unreachable
from tidings.client.items import Gap, Message
from tidings.client.publisher import Publisher, Receipt

if TYPE_CHECKING:
    from tidings.client.feed import Feed, State, follow

__all__ = [
    "BadAddress",
    "BadAnswer",
    "ClientError",
    "Feed",
    "Gap",
    "Message",
    "Publisher",
    "Receipt",
    "Refused",
    "State",
    "Unreachable",
    "follow",
]


def __getattr__(name: str) -> Any:
    if name in {"Feed", "State", "follow"}:
        from tidings.client import feed

        return getattr(feed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
