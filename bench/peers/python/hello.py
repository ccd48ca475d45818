"""The least that an application on uvicorn can do: one small answer to everything, and always the same.

Owns: nothing but ASGI's two messages. BENCH_HEADERS and BENCH_BODY hold the answer, which
bench/peers/floors.py takes from Tidings itself.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

_body = os.environ["BENCH_BODY"].encode()
_headers = [tuple(line.split(b": ", 1)) for line in os.environ["BENCH_HEADERS"].encode().splitlines()]
_START = {"type": "http.response.start", "status": 200, "headers": _headers}
_END = {"type": "http.response.body", "body": _body}


async def app(
    scope: dict[str, Any],
    receive: object,  # noqa: ARG001 — the interface's signature
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer."""
    assert scope["type"] == "http"
    await send(_START)
    await send(_END)
