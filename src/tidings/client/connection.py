"""One kept-alive connection of the standard library, and asking on it until there is an answer.

Owns: the connection, its deadlines, and when a request is made again. Does not own: what is asked
(publisher.py).
Invariant: a request may reach the server several times; its idempotency keys make that do nothing twice.
"""

import http.client
import random
import socket
import ssl
import threading
import time
from http import HTTPStatus
from typing import Final

from tidings.client.address import Address
from tidings.client.errors import BadAnswer, ClientError, Refused, Unreachable, in_words, refusal

TRIES: Final = 4
# Waits before the second, third, … try: a random part of 0.1, 0.2, 0.4 s. A server that is down is reported
# within a second; whoever publishes to one that is being restarted asks again with the same key.
BACKOFF_BASE: Final = 0.1
# A hundred refusals, the most that one answer holds, are about 50 KiB.
ANSWER_BYTES: Final = 256 * 1024


class Connection:
    """A way to one server. Threads may share it; they take turns.

    `timeout` is seconds for one request, all its tries together.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        """Take the address; the connection is made by the first `post`."""
        self._address = address
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def post(self, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of the first answer that is not to be tried again.

        Raises Refused, Unreachable and BadAnswer.
        """
        with self._lock:
            return self._until_answered(target, body, headers)

    def close(self) -> None:
        """Close the connection. A later `post` makes a new one."""
        with self._lock:
            self._drop()

    def _until_answered(self, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
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


def _reason(why: Exception) -> str:
    if isinstance(why, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(why, http.client.HTTPException):
        return f"that was not HTTP ({type(why).__name__})"
    return in_words(why)
