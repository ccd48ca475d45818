"""Django Channels: a group for each channel, on the layer in memory.

It runs on uvicorn: Daphne took a third more for a delivery. For each member `group_send` makes a task, and
puts a deep copy of the message into a queue. For each message that a consumer takes out, the layer looks
through all queues and members for what has expired, so that the cost of a message rises with the square of
its subscribers; and the consumer has a thread close old connections to databases, whether there are any or
not. All that is the library's own and cannot be turned off. Beyond a queue's capacity the layer drops what
comes, silently: so the capacity is more than is ever sent here. Publishing is a consumer, too, and so meets
neither middleware nor views.
"""

from typing import Any

import django
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path
from messages import envelope, receipt

_LAYER = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1_000_000}}
settings.configure(SECRET_KEY="bench", CHANNEL_LAYERS={"default": _LAYER})
django.setup()


async def _deliver(name: str, data: str) -> str:
    identity, message = envelope(name, data)
    event = {"type": "message", "text": f'{{"message":{message}}}'}
    await get_channel_layer().group_send(name, event)
    return identity


class Subscriber(AsyncWebsocketConsumer):  # type: ignore[misc]  # has no types
    """One WebSocket; what it says is published on its channel."""

    async def connect(self) -> None:
        """Join the group."""
        self.name: str = self.scope["url_route"]["kwargs"]["name"]
        await self.channel_layer.group_add(self.name, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 — the parent's signature
        """Leave the group."""
        await self.channel_layer.group_discard(self.name, self.channel_name)

    async def receive(self, text_data: str = "", **_: Any) -> None:
        """Publish."""
        await _deliver(self.name, text_data)

    async def message(self, event: dict[str, str]) -> None:
        """Pass on what came to the group."""
        await self.send(text_data=event["text"])


class Publisher(AsyncHttpConsumer):  # type: ignore[misc]  # has no types
    """One request to publish."""

    async def handle(self, body: bytes) -> None:
        """Deliver, then answer."""
        identity = await _deliver(self.scope["url_route"]["kwargs"]["name"], body.decode())
        said = receipt(identity).encode()
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", str(len(said)).encode())]
        await self.send_response(201, said, headers=headers)


_PATH = "channels/<str:name>"
app = ProtocolTypeRouter(
    {
        "websocket": URLRouter([path(_PATH, Subscriber.as_asgi())]),
        "http": URLRouter([path(_PATH, Publisher.as_asgi())]),
    }
)
