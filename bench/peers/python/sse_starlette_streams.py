"""sse-starlette: a response and a queue for each subscriber, as its documentation has it.

Events are rendered once and handed over as bytes, which it passes on as they are. It keeps four tasks for
each response. Its comments come every 15 seconds, as Tidings' do. The queues have no bounds.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from messages import envelope, receipt
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_channels: defaultdict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)


async def _events(name: str) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    _channels[name].add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        _channels[name].discard(queue)


async def subscribe(request: Request) -> Response:
    """Return a stream that ends when its client goes."""
    return EventSourceResponse(_events(request.path_params["name"]), ping=15)


async def publish(request: Request) -> Response:
    """Put the event into every queue, then answer."""
    name = request.path_params["name"]
    identity, message = envelope(name, (await request.body()).decode())
    event = f"id: {identity}\ndata: {message}\n\n".encode()
    for queue in _channels[name]:
        queue.put_nowait(event)
    return Response(receipt(identity), status_code=201, media_type="application/json")


_PATH = "/channels/{name}"
app = Starlette(routes=[Route(_PATH, subscribe), Route(_PATH, publish, methods=["POST"])])
