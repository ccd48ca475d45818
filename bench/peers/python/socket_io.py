"""python-socketio: a room for each channel.

`emit` encodes a packet once for a room; then a task for each recipient puts it into that one's queue, and a
writer task takes it out. A client names its channel in the query that it connects with. Polls are not
compressed. The queues have no bounds.
"""

import json
from typing import Any
from urllib.parse import parse_qs

import socketio
from messages import envelope, receipt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_server = socketio.AsyncServer(
    async_mode="asgi", cors_allowed_origins="*", http_compression=False, ping_interval=25
)


async def _deliver(name: str, data: str) -> str:
    identity, message = envelope(name, data)
    await _server.emit("message", json.loads(message), room=name)
    return identity


async def _connect(sid: str, environ: dict[str, Any], auth: object = None) -> None:  # noqa: ARG001 — its signature
    name = parse_qs(environ["QUERY_STRING"])["channel"][0]
    await _server.enter_room(sid, name)
    await _server.save_session(sid, name)


async def _publish_event(sid: str, data: object) -> None:
    await _deliver(await _server.get_session(sid), json.dumps(data, separators=(",", ":")))


async def publish(request: Request) -> Response:
    """Deliver, then answer."""
    identity = await _deliver(request.path_params["name"], (await request.body()).decode())
    return Response(receipt(identity), status_code=201, media_type="application/json")


_server.on("connect", _connect)
_server.on("publish", _publish_event)
app = socketio.ASGIApp(_server, Starlette(routes=[Route("/channels/{name}", publish, methods=["POST"])]))
