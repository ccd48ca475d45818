"""Starlette: WebSockets in a set for each channel, and a `send_text` for each of them.

`in_turn` awaits one after the other, which is the pattern of the documentation and the cheapest on uvicorn:
there a `send_text` that need not wait does not leave the coroutine. `together` gathers them, which is the
cheapest on granian: there each waits for another thread. In both a reader that stops holds up its publisher.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from messages import envelope, receipt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

Send = Callable[[Collection[WebSocket], str], Awaitable[None]]


async def _in_turn(sockets: Collection[WebSocket], frame: str) -> None:
    for socket in sockets:
        with suppress(WebSocketDisconnect):
            await socket.send_text(frame)


async def _together(sockets: Collection[WebSocket], frame: str) -> None:
    await asyncio.gather(*[socket.send_text(frame) for socket in sockets], return_exceptions=True)


def _application(send: Send) -> Starlette:
    channels: defaultdict[str, set[WebSocket]] = defaultdict(set)

    async def deliver(name: str, data: str) -> str:
        identity, message = envelope(name, data)
        await send(tuple(channels[name]), f'{{"message":{message}}}')
        return identity

    async def subscribe(socket: WebSocket) -> None:
        """Keep a subscriber until it goes; what it says is published on its channel."""
        name = socket.path_params["name"]
        await socket.accept()
        channels[name].add(socket)
        try:
            async for data in socket.iter_text():
                await deliver(name, data)
        finally:
            channels[name].discard(socket)

    async def publish(request: Request) -> Response:
        identity = await deliver(request.path_params["name"], (await request.body()).decode())
        return Response(receipt(identity), status_code=201, media_type="application/json")

    path = "/channels/{name}"
    return Starlette(routes=[WebSocketRoute(path, subscribe), Route(path, publish, methods=["POST"])])


in_turn = _application(_in_turn)
together = _application(_together)
