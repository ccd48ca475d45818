"""What can go wrong for a client, split by what the caller can do about it.

    TidingsError (core/errors.py)
    └── ClientError
        ├── Unreachable   nobody answers: start the server, or mend the address
        │   └── NotAcknowledged   a message has no receipt; `maybe_published` says what may have become of it
        ├── Refused       the server said no, and why: `code`, `status`, `detail`
        └── BadAnswer     something answered that is not a Tidings server, or broke its bounds

`Cut` is not one of them: it tells the supervisor that a connection ended and may be begun again; callers
never see it.
"""

import os
import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from tidings.core.errors import TidingsError

if TYPE_CHECKING:
    from tidings.client.receipt import Receipt

# How `Unreachable.reason` begins where it is not the server that is missing.
UNTRUSTED: Final = "its certificate is not trusted"


class ClientError(TidingsError):
    """Every error that this package raises."""

    # What `publish_many` was told of its first messages before this ended it.
    answered: "tuple[Receipt | Refused, ...]" = ()


class Unreachable(ClientError):
    """No connection could be made, or none lasted long enough to carry the answer."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"no answer from {url}: {reason}")


class NotAcknowledged(Unreachable):
    """A message was not acknowledged in time.

    `maybe_published` says whether it may have got there: a request went out and its answer did not come.
    Publish it again with the same `idempotency_key` then, within 10 minutes: it is published once, whatever
    happened.
    """

    def __init__(self, url: str, reason: str, *, maybe_published: bool, idempotency_key: str) -> None:
        super().__init__(url, reason)
        self.maybe_published = maybe_published
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        if self.maybe_published:
            return (
                f"{super().__str__()}; the message may have been published: publish it again with "
                f"idempotency_key={self.idempotency_key!r} and it is published once"
            )
        return f"{super().__str__()}; the message was not published"


class Refused(ClientError):
    """The server answered, and the answer is no (RFC 9457 problem, or a closing code that is final).

    `code` is the stable word of the error table, or `http-STATUS` where a proxy or another server
    answered, or `close-CODE` where a connection was closed for good; `status` is the HTTP status or the
    WebSocket close code; `retry` says whether the same request may succeed later, and `retry_after` in
    how many seconds, where the server said so.
    """

    def __init__(
        self, code: str, status: int, detail: str, *, retry: bool = False, retry_after: float | None = None
    ) -> None:
        self.code = code
        self.status = status
        self.detail = detail
        self.retry = retry
        self.retry_after = retry_after
        super().__init__(f"{detail} ({code}, {status})" if detail else f"{code} ({status})")


class BadAnswer(ClientError):
    """What came back is not what a Tidings server sends, or is larger than the client takes."""


class Cut(Exception):
    """A connection ended that may be begun again; `wait` is the server's hint in seconds, where it gave one.

    `transport_failed` says that this transport did not get through, while the server may well be
    there: the automatic choice then goes on to the next one. It stays False when the server could not be
    reached at all, and where the server itself said to come back. `code` is the close code that it said so
    with.
    """

    def __init__(
        self,
        reason: str,
        *,
        wait: float | None = None,
        transport_failed: bool = True,
        unreachable: bool = False,
        code: int | None = None,
    ) -> None:
        self.reason = reason
        self.wait = wait
        self.code = code
        self.transport_failed = transport_failed and not unreachable
        self.unreachable = unreachable
        super().__init__(reason)


class Headers(Protocol):
    """The headers of an answer, whichever library read them; names are found in any case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of `name`, or None."""


class _Problem(msgspec.Struct):
    """The members of RFC 9457 that we read; others are let pass (§3.2)."""

    code: str = ""
    title: str = ""
    detail: str = ""
    status: int = 0
    retry: bool | None = None


def refusal(status: int, headers: Headers, body: bytes) -> Refused:
    """Return the error that an HTTP answer of 400 or more stands for, whatever wrote it."""
    problem = _Problem()
    if "json" in (headers.get("Content-Type") or ""):
        try:
            problem = msgspec.json.decode(body, type=_Problem)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # A proxy's page under a JSON type: the status still says what there is to say.
            problem = _Problem()
    retry = problem.retry if problem.retry is not None else status in {408, 425, 429} or status >= 500
    return Refused(
        problem.code or f"http-{status}",
        status,
        problem.detail or problem.title or f"the server answered {status}",
        retry=retry,
        retry_after=_seconds(headers.get("Retry-After")),
    )


def refusal_in_band(problem: Any) -> Refused:
    """Return the error that a WebSocket `error` frame's object stands for; never raises on odd ones."""
    try:
        known = msgspec.convert(problem, _Problem)
    except msgspec.ValidationError:
        known = _Problem()
    return Refused(known.code or "error", known.status, known.detail or known.title, retry=bool(known.retry))


def closed(code: int, reason: str) -> Refused | Cut:
    """Return what the end of a stream or WebSocket stands for: 4500 to 4999 mean do not come back."""
    words = reason or "the server closed the connection"
    if 4500 <= code <= 4999:
        return Refused(f"close-{code}", code, words)
    return Cut(words, transport_failed=False, code=code)


def in_words(why: BaseException) -> str:
    """Return a failure of the network in words, without classes, numbers and addresses."""
    match why:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"{UNTRUSTED}: {why.verify_message} (SSL_CERT_FILE names the authorities that are trusted)"
        case ssl.SSLError():
            return f"TLS failed: {why.reason or why}"
        case OSError() if why.errno is not None and why.errno > 0:
            return os.strerror(why.errno)
        case OSError() if why.strerror:
            return why.strerror
        case _:
            return str(why) or type(why).__name__


def _seconds(text: str | None) -> float | None:
    """Return `Retry-After` in seconds; its form as a date is not one that a Tidings server sends."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return float(min(int(text.strip()[:6]), 3600))
