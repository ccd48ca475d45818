"""Litestar: its channels plugin on the backend in memory, with a queue and a task for each subscriber.

The WebSocket handler does as the plugin's own, and publishes what a client says. An event stream passes on
bytes that were rendered once, which is less work than Litestar's own ServerSentEvent has for each
subscriber. The queues have no bounds, which is the plugin's default.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from litestar import Litestar, Request, Response, WebSocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect
from litestar.handlers import get, post, websocket
from litestar.response import Stream
from messages import envelope, receipt

_channels = ChannelsPlugin(MemoryChannelsBackend(), arbitrary_channels_allowed=True)


def _deliver(name: str, data: str) -> str:
    identity, message = envelope(name, data)
    # Frames and events are different bytes, and so two channels; one without subscribers costs nothing.
    _channels.publish(f'{{"message":{message}}}', f"websocket:{name}")
    _channels.publish(f"id: {identity}\ndata: {message}\n\n", f"sse:{name}")
    return identity


async def subscribe(socket: WebSocket[Any, Any, Any], name: str) -> None:
    """Keep a subscriber until it goes; what it says is published on its channel."""
    await socket.accept()
    async with (
        _channels.start_subscription(f"websocket:{name}") as subscriber,
        subscriber.run_in_background(socket.send_text),
    ):
        with suppress(WebSocketDisconnect):
            async for data in socket.iter_data("text"):
                _deliver(name, data)


async def _events(name: str) -> AsyncIterator[bytes]:
    async with _channels.start_subscription(f"sse:{name}") as subscriber:
        async for event in subscriber.iter_events():
            yield event


async def stream(name: str) -> Stream:
    """Return a stream that ends when its client goes."""
    return Stream(_events(name), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def publish(name: str, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Hand the message over, then answer."""
    identity = _deliver(name, (await request.body()).decode())
    return Response(receipt(identity).encode(), status_code=201, media_type="application/json")


_PATH = "/channels/{name:str}"
app = Litestar(
    [websocket(_PATH)(subscribe), get(_PATH)(stream), post(_PATH)(publish)],
    plugins=[_channels],
    openapi_config=None,
)
