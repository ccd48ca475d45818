"""Server-Sent Events: one answer that does not end.

Owns: reading the server's events. Invariant: of several gaps only the last has an `id:`, so a stream that is
cut among them begins again before the first.
"""

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus

import aiohttp

from tidings.client import ask as bounds
from tidings.client.ask import Ask
from tidings.client.errors import BadAnswer, Cut, Refused, closed
from tidings.client.items import (
    Advice,
    End,
    Reached,
    Sign,
    read,
    read_gap,
    read_message,
    read_ready,
)
from tidings.wire.event_stream import Event, Parser


async def receive(session: aiohttp.ClientSession, ask: Ask) -> AsyncGenerator[Sign, None]:
    """Yield what the stream says until it is cut. Raises what ask.as_cut tells apart."""
    headers = await ask.headers(**{"Accept": "text/event-stream", "Cache-Control": "no-cache"})
    async with session.get(ask.url, params=ask.query("sse"), headers=headers) as response:
        if response.status == HTTPStatus.NO_CONTENT:
            raise Refused("stopped", response.status, "the server says there is nothing to wait for")
        if response.content_type != "text/event-stream":
            raise Cut(f"an event stream was asked for, and {response.content_type} came")
        parser = Parser()
        last_id = ""
        said: list[Sign] = []
        deadline: float | None = asyncio.get_running_loop().time() + bounds.BUFFERED
        while part := await _part(response, deadline):
            try:
                events = parser.feed(part)
            except ValueError as why:
                raise BadAnswer(str(why)) from None
            for event in events:
                said = _signs(event)
                for sign in said:
                    yield sign
                    if not isinstance(sign, Advice):
                        deadline = None
                if event.event == "gap" and event.id and event.id != last_id:
                    yield Reached(event.id)
                last_id = event.id
    # A server that takes no more says only when to come back; what says nothing is not the server.
    raise Cut("the stream ended", transport_failed=not said)


async def _part(response: aiohttp.ClientResponse, deadline: float | None) -> bytes:
    """Return what comes next, nothing at the end; the first event must be there by `deadline`."""
    if deadline is None:
        return await response.content.readany()
    try:
        async with asyncio.timeout_at(deadline):
            return await response.content.readany()
    except TimeoutError:
        raise Cut(
            f"the head of the stream came, and no event within {bounds.BUFFERED:g} s: "
            "something on the way keeps it back"
        ) from None


def _signs(event: Event) -> list[Sign]:
    data = event.data.encode()
    signs: list[Sign] = [] if event.retry_ms is None else [Advice(retry_ms=event.retry_ms)]
    match event.event:
        case "ready":
            signs.append(read_ready(data))
        case "gap":
            signs.append(read_gap(data))
        case "advice":
            signs.append(read(data, Advice))
        case "end":
            end = read(data, End)
            raise closed(end.code, end.reason)
        case "retry" if not data:
            pass  # no event, only the hint; a publisher's event of this name has data
        case _:
            signs.append(read_message(data))
    return signs
