"""Who may come in: the origin of the page that asks (spec §8.1).

The threat is a page of somebody else in the user's own browser: it reaches what the browser reaches, a
server on loopback included, and WebSockets are not held back by CORS. So the origin is checked
on every transport, and before anything is done.
"""

from functools import lru_cache
from ipaddress import ip_address

from tidings.core.errors import Refusal
from tidings.server.paths import methods
from tidings.wire.http import Headers, Request


def check_origin(request: Request, allowed: frozenset[str], *, loopback: bool) -> Headers:
    """Return the headers that an answer to this request's origin bears, or refuse it with `origin_refused`.

    Without an Origin header it is no page of another site: nothing to check and nothing to add.
    `loopback` says that the server is reached by this machine only.
    """
    origin = request.headers.get("origin")
    host = request.headers.get("host", "").lower()
    if origin is None:
        # A browser names no origin when a page reads what it takes for its own server, and a name
        # of somebody else's that leads to this machine makes ours look so (DNS rebinding).
        from_page = "sec-fetch-site" in request.headers
        if loopback and from_page and not _is_this_machine(host) and host not in _hosts(allowed):
            raise Refusal(
                "origin_refused",
                f"This server is on loopback, and does not know the name {ascii(host[:100])[1:-1]}; "
                "the operator can allow it with --allow-origin https://NAME.",
            )
        return ()
    if origin in allowed:
        return let_see(origin)
    # The server's own pages. Its scheme is not compared: TLS may end at a proxy in front.
    _scheme, _, authority = origin.partition("://")
    same = authority != "" and authority.lower() == host
    # The same threat: an address or localhost cannot be a name of somebody else's.
    if same and (not loopback or _is_this_machine(authority)):
        return ()
    raise _refused()


def let_see(origin: str) -> Headers:
    """Return the headers that let pages of `origin`, which is allowed, see an answer."""
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "ETag, Preference-Applied, Retry-After"),
        ("Vary", "Origin"),
    )


@lru_cache(maxsize=4)
def _hosts(origins: frozenset[str]) -> frozenset[str]:
    return frozenset(origin.partition("://")[2] for origin in origins)


def _refused() -> Refusal:
    return Refusal(
        "origin_refused",
        "Pages of this origin may not connect; the operator can allow it with --allow-origin ORIGIN.",
    )


@lru_cache(maxsize=64)
def _is_this_machine(authority: str) -> bool:
    host = authority.rpartition(":")[0] if authority.rpartition(":")[2].isdigit() else authority
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def preflight(request: Request) -> Headers:
    """Return the headers that answer an OPTIONS request (Fetch standard §3.2.2)."""
    allowed = methods(request.path)
    if "access-control-request-method" not in request.headers:
        return (("Allow", allowed),)
    return (
        ("Allow", allowed),
        ("Access-Control-Allow-Methods", allowed),
        (
            "Access-Control-Allow-Headers",
            "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer",
        ),
        ("Access-Control-Max-Age", "600"),
    )
