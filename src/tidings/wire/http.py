"""HTTP/1.1 messages (RFC 9112): a request's head as a value, a response as bytes.

Owns: Request, Response and their bytes. Does not own: parsing (a library's), routes, connections.
Invariant: no text of a peer stands in a response's head.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from tidings.core.errors import Refusal
from tidings.wire import envelope

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

Headers = tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class Request:
    """One request, its body read whole. One object may stand for all requests of the same bytes.

    `headers` has lower-case names; a header that came several times is joined with commas
    (RFC 9110 §5.3), `host` excepted, which the parser of heads refuses. `target` is the raw
    request target; `path` and `query` are decoded from it. `meaning` is for whoever serves it: what
    it was found to ask, kept with the object.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    http_1_0: bool = False
    keep_alive: bool = True
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    meaning: Any = None


@dataclass(slots=True)
class Response:
    """One response. `raw` keeps its bytes where many connections are sent the same."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    raw: bytes | None = field(default=None, repr=False)


def split_target(target: str) -> tuple[str, Mapping[str, str]]:
    """Return the path and the query's parameters, percent-decoded. Short targets are remembered.

    Refuses with `bad_request` what servers and proxies read differently: encoded slashes, NULs
    and other control characters, dot segments, text that is not UTF-8.
    """
    return _split_short(target) if len(target) <= 256 else _split(target)


def _split(target: str) -> tuple[str, Mapping[str, str]]:
    if target == "*":  # OPTIONS of the server itself (RFC 9110 §9.3.7)
        return target, {}
    if target[:8].lower().startswith(("http://", "https://")):  # as to a proxy (RFC 9112 §3.2.2)
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    if "%" in path:
        lowered = path.lower()
        if "%2f" in lowered or "%5c" in lowered:
            raise Refusal("bad_request", "Encoded slashes are not taken in a path.")
        try:
            path = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise Refusal("bad_request", "The path is not UTF-8.") from None
    if not path.startswith("/") or any(c < " " or c == "\x7f" for c in path):
        raise Refusal("bad_request", "The request target is not an absolute path of printable characters.")
    if "/." in path and any(segment in (".", "..") for segment in path.split("/")):
        raise Refusal("bad_request", "Dot segments are not taken in a path.")
    if not query:
        return path, {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        raise Refusal("bad_request", "The query is not UTF-8, or has more than 32 parameters.") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise Refusal("bad_parameter", "A query parameter was given twice.")
    return path, parameters


# Those who wait at the same place ask for the same target.
_split_short = lru_cache(maxsize=4096)(_split)


def prefers(header: str, wanted: str) -> bool:
    """Whether a list like Accept's names `wanted`, and not with a weight of 0 (RFC 9110 §12.4.2).

    `wanted` is in lower case, the list in any.
    """
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        if name == wanted:
            return not any(_UNWANTED(parameter) for parameter in parameters)
    return False


_UNWANTED: Final = re.compile(r"q\s*=\s*0(\.0*)?").fullmatch


@lru_cache(maxsize=4)
def date(unix_seconds: int) -> str:
    """Return the Date header's value (RFC 9110 §6.6.1); the same second is formatted once."""
    return formatdate(unix_seconds, usegmt=True)


_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def head(status: int, headers: Headers) -> bytes:
    """Return a status line and header section, the empty line included."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def response(
    r: Response, unix_seconds: int, *, extra: Headers = (), close: bool = False, body: bool = True
) -> bytes:
    """Return the bytes of a whole response with its Content-Length.

    `close` says that the connection ends after it; without `body` it answers HEAD.
    """
    headers = (("Date", date(unix_seconds)), *r.headers, *extra)
    if r.status not in (101, 204, 304):
        headers += (("Content-Length", str(len(r.body))),)
    if close:
        headers += (("Connection", "close"),)
    return head(r.status, headers) + (r.body if body else b"")


JSON: Final = ("Content-Type", "application/json")
NO_STORE: Final = ("Cache-Control", "no-store")


def json_response(status: int, value: Mapping[str, Any], headers: Headers = ()) -> Response:
    """Return a response whose body is one JSON object, never cached."""
    return Response(status, (JSON, NO_STORE, *headers), envelope.encode(value))


def refusal(error: Refusal) -> Response:
    """Return the response for a refusal (RFC 9457). A 503 always says when to come back: by itself, soon."""
    headers = (("Content-Type", "application/problem+json"), NO_STORE, *error.headers)
    if error.kind.status == 503 and not any(name == "Retry-After" for name, _ in error.headers):
        headers += (("Retry-After", "1"),)
    return Response(error.kind.status, headers, envelope.encode(envelope.problem(error.kind, error.detail)))
