"""The HTTP answer to a poll (spec §5.1): the same for a client that asked and for one that waited."""

from collections.abc import Mapping, Sequence
from typing import Final

from tidings.core import limits
from tidings.core.history import Slice
from tidings.core.message import Gap, Message
from tidings.hub import Hub, Place
from tidings.transports.ask import Ask
from tidings.wire import envelope
from tidings.wire.http import JSON, NO_STORE, Headers, Response

Answer = Response

_NOTHING: Final = ()
# What else of a request than its URL decides over the answer: a cache must not hand a poll's answer to
# an EventSource or a WebSocket that asks for the same URL.
_VARY: Final = ("Vary", "Accept, Last-Event-ID, Origin, Prefer, Upgrade")


def look(hub: Hub, ask: Ask) -> tuple[Place, Slice]:
    """Return where the client stands, and what follows there."""
    place = hub.places.locate(ask.channels, ask.start)
    return place, hub.places.read(ask.channels, place, ask.limit, limits.ANSWER_BYTES)


Shared = tuple[Answer, int]


def tell_shared(hub: Hub, shared: Shared) -> Answer:
    """Return what somebody else was answered who asked the same since the last message."""
    hub.stats.delivered += shared[1]
    return shared[0]


def tell(
    hub: Hub,
    ask: Ask,
    place: Place,
    found: Slice,
    *,
    share: bool,
    advice: Mapping[str, int] | None = None,
    headers: Headers = (),
) -> Answer:
    """Return the answer that tells what was found at `place`, which may be nothing.

    With `share` it is given to all who ask the same before the next message.
    """
    cursor = hub.places.cursor(hub.places.end_of(ask.channels, place, found), ask.channels, place.floors)
    hub.stats.delivered += len(found.messages)
    answer = respond(
        hub.places.told(found.messages, ask.channels, place.floors),
        cursor,
        place.gaps,
        more=found.more,
        known=ask.known,
        max_age=ask.max_age,
        advice=advice,
        headers=headers,
    )
    if share:
        hub.shared.put(ask, (answer, len(found.messages)))
    return answer


def respond(
    messages: Sequence[Message],
    cursor: str,
    gaps: Sequence[Gap] = _NOTHING,
    *,
    more: bool = False,
    known: str | None = None,
    max_age: float = 0.0,
    advice: Mapping[str, int] | None = None,
    headers: Headers = (),
) -> Answer:
    """Return the answer that tells `messages` and `gaps`, and where to ask next.

    A client that names this very cursor in If-None-Match and for which there is nothing gets 304
    (RFC 9110 §13.1.2).
    """
    etag = ("ETag", f'"{cursor}"')
    if known is not None and not messages and not gaps and f'"{cursor}"' in known[:1024]:
        return Response(304, (NO_STORE, etag, *headers))
    body = envelope.answer(messages, cursor, gaps, more=more, advice=advice)
    # What follows a cursor never changes, so a shared cache may keep an answer that tells some of
    # it. An empty one it may not: that would hide the first message from all who ask alike.
    kept = messages and max_age
    cached = (("Cache-Control", f"public, max-age={max_age:g}"), _VARY) if kept else (NO_STORE,)
    return Response(200, (JSON, *cached, etag, *headers), body)


def preference(wait: float) -> Headers:
    """Return the header that says how long the answer may have waited (RFC 7240 §3)."""
    return (("Preference-Applied", f"wait={wait:g}"),)
