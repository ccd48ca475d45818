"""Server-Sent Events: one answer that does not end.

Owns: reading the server's events. Invariant: of several gaps only the last has an `id:`, so a stream that is
cut among them begins again before the first.
"""

from collections.abc import AsyncGenerator
from http import HTTPStatus

import aiohttp

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
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
    async with session.get(ask.url, params=ask.query("sse"), headers=headers) as response:
        if response.status == HTTPStatus.NO_CONTENT:
            raise Refused("stopped", response.status, "the server says there is nothing to wait for")
        if response.content_type != "text/event-stream":
            raise Cut(f"an event stream was asked for, and {response.content_type} came")
        parser = Parser()
        last_id = ""
        async for part in response.content.iter_any():
            try:
                events = parser.feed(part)
            except ValueError as why:
                raise BadAnswer(str(why)) from None
            for event in events:
                for sign in _signs(event):
                    yield sign
                if event.event == "gap" and event.id and event.id != last_id:
                    yield Reached(event.id)
                last_id = event.id
    raise Cut("the stream ended", transport_failed=False)


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
