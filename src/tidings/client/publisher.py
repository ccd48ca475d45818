"""Publishing from plain synchronous code, over one kept-alive connection of the standard library.

Owns: the connection, and trying again. Does not own: reading channels (feed.py).
Invariant: all tries of one `publish` bear one idempotency key, so the message is published once however often
an answer was lost on the way.
"""

import http.client
import json
import random
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import msgspec

from tidings.client.address import Address, read_address, read_channels
from tidings.client.errors import BadAnswer, ClientError, Refused, Unreachable, in_words, refusal
from tidings.client.items import read
from tidings.core.errors import Refusal
from tidings.core.names import check_event, check_key

TRIES: Final = 4
# Waits before the second, third, … try: a random part of 0.1, 0.2, 0.4 s. A server that is down is reported
# within a second; whoever publishes to one that is being restarted asks again with the same key.
BACKOFF_BASE: Final = 0.1
ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server's word that it has the message."""

    id: str
    # The medium it had reached when this was said: `memory`, `stored` or `synced`.
    durability: str
    # The same idempotency key had been used before on this channel: nothing was published now.
    duplicate: bool


class _Answer(msgspec.Struct):
    id: str
    durability: str
    duplicate: bool = False


class Publisher:
    """Publishes messages to one server. Threads may share one; they take turns on its connection.

    `timeout` is seconds for one `publish`, all its tries together.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        """Read the address; the connection is made by the first `publish`. Raises BadAddress."""
        self._address = read_address(url)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def publish(
        self,
        channel: str,
        data: Any,
        *,
        event: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Return the receipt of one message.

        `data` is any JSON value; `bytes` are taken as ready JSON text and kept as they are. Give an
        `idempotency_key` of your own to be able to ask again after an error (10 minutes long, on the same
        channel); without one, each call is a message of its own.

        Raises Refused (the server said no), Unreachable (no answer in time, after several tries: whether the
        message was published is then unknown), BadAnswer (that is no Tidings server), and TypeError or
        ValueError for data that has no JSON.
        """
        names = read_channels((channel,))
        body = bytes(data) if isinstance(data, bytes | bytearray) else _as_json(data)
        given = {"event": _checked(check_event, event), "key": _checked(check_key, key)}
        once = _checked(check_key, idempotency_key)
        query = urlencode({name: value for name, value in given.items() if value is not None})
        target = self._address.path(names) + ("?" + query if query else "")
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": once or secrets.token_urlsafe(16),
            "Accept": "application/json",
        }
        with self._lock:
            status, answer = self._until_answered(target, body, headers)
        if status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
            raise BadAnswer(f"{self._address.text} answered {status} where a Tidings server says 201")
        receipt = read(answer, _Answer)
        # A key of our own making can only be known from an earlier try of this very call.
        duplicate = receipt.duplicate and idempotency_key is not None
        return Receipt(receipt.id, receipt.durability, duplicate)

    def close(self) -> None:
        """Close the connection. A later `publish` makes a new one."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _until_answered(self, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of the first answer that is not to be tried again."""
        deadline = time.monotonic() + self._timeout
        tries = 0
        while True:
            tries += 1
            reused = self._connection is not None
            wait: float | None = None
            failure: ClientError
            try:
                return self._once(target, body, headers, deadline)
            except Refused as no:
                if not no.retry:
                    raise
                failure, wait = no, no.retry_after
            except (OSError, http.client.HTTPException) as why:
                self._drop()
                failure = Unreachable(self._address.text, _reason(why))
                if reused and not isinstance(why, TimeoutError):
                    # The server may close a connection that was idle: that says nothing about the server,
                    # so a fresh one is tried at once and is not counted.
                    tries -= 1
                    continue
            except BaseException:
                # An interrupt in the middle of an answer: what is left of it must not meet the next request.
                self._drop()
                raise
            if wait is None:
                wait = random.uniform(0.0, BACKOFF_BASE * 2 ** (tries - 1))  # noqa: S311 - jitter, no secret
            if tries >= TRIES or time.monotonic() + wait >= deadline:
                raise failure
            time.sleep(wait)

    def _once(self, target: str, body: bytes, headers: dict[str, str], deadline: float) -> tuple[int, bytes]:
        """Return one answer. Raises Refused, OSError or HTTPException."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        connection = self._connection
        if connection is None:
            connection = self._connection = _connection(self._address, left)
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(left)
        try:
            connection.request("POST", target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server refuses a body that is too large before it has read it; its answer may be here already.
            if connection.sock is None:
                raise
        answer = connection.getresponse()
        text = answer.read(ANSWER_BYTES + 1)
        if len(text) > ANSWER_BYTES:
            self._drop()
            raise BadAnswer(f"{self._address.text} answered with more than {ANSWER_BYTES} bytes")
        if answer.will_close:
            self._drop()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise refusal(answer.status, answer.headers, text)
        return answer.status, text

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def _connection(address: Address, timeout: float) -> http.client.HTTPConnection:
    if address.uds is not None:
        return _OverSocket(address.uds, timeout)
    if address.scheme == "https":
        # The default context checks names and chains, and honours SSL_CERT_FILE.
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(address.host, address.port, timeout=timeout)


def _as_json(data: Any) -> bytes:
    # The standard library's encoder, because it can refuse NaN; msgspec would write null for it.
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _checked(check: Callable[[str], str], value: str | None) -> str | None:
    """Return `value`, or raise Refused as the server would; it stands in a URL or in a header."""
    try:
        return None if value is None else check(value)
    except Refusal as no:
        raise Refused(no.kind.code, no.kind.status, no.detail) from None


def _reason(why: Exception) -> str:
    if isinstance(why, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(why, http.client.HTTPException):
        return f"that was not HTTP ({type(why).__name__})"
    return in_words(why)
