"""Who may come in: the origin of the page that asks (spec §8.1).

The threat is a page of somebody else in the user's own browser: it reaches what the browser reaches, a
server on loopback included, and WebSockets are not held back by CORS. So the origin is checked
on every transport, and before anything is done.
"""

from tidings.core.errors import Refusal
from tidings.wire.http import Headers, Request

_METHODS = "GET, HEAD, POST, OPTIONS"


def check_origin(request: Request, allowed: frozenset[str]) -> Headers:
    """Return the headers that an answer to this request's origin bears, or refuse it with `origin_refused`.

    Without an Origin header it is no page of another site: nothing to check and nothing to add.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return ()
    if origin in allowed:
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "ETag, Preference-Applied, Retry-After"),
            ("Vary", "Origin"),
        )
    # The server's own pages. Its scheme is not compared: TLS may end at a proxy in front.
    _scheme, _, authority = origin.partition("://")
    if authority and authority.lower() == request.headers.get("host", "").lower():
        return ()
    raise Refusal(
        "origin_refused",
        "Pages of this origin may not connect; the operator can allow it with --allow-origin ORIGIN.",
    )


def preflight(request: Request) -> Headers:
    """Return the headers that answer an OPTIONS request (Fetch standard §3.2.2)."""
    if "access-control-request-method" not in request.headers:
        return (("Allow", _METHODS),)
    return (
        ("Allow", _METHODS),
        ("Access-Control-Allow-Methods", _METHODS),
        (
            "Access-Control-Allow-Headers",
            "Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer",
        ),
        ("Access-Control-Max-Age", "600"),
    )
