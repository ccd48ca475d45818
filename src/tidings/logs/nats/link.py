"""One connection to a NATS server, from its opening to its loss.

Owns: requests and their answers over one inbox, publishes in order without waiting, and the end.
Does not own: coming back (log.py), what is asked (stream.py, tail.py).
Invariant: what fails here is not sent later. The library's own reconnecting would keep what was
buffered and send it after its publisher was told that it failed; so a link is lost once, with all it held.
"""

import asyncio
import json
import logging
from asyncio import Future, Task, get_running_loop
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import nats.aio.client
import nats.errors
from nats.aio.msg import Msg

from tidings.core import limits
from tidings.logs.nats.url import Place

CONNECT_TIMEOUT: Final = 2  # whole seconds, as the library types it
CLOSE_TIMEOUT: Final = 1.0
LATE: Final = 0.25  # seconds: an event loop that is later than that was held up itself
API: Final = "$JS.API."
NO_ANSWER: Final = 504  # our own, beside JetStream's error numbers
UNAVAILABLE: Final = 503
_NO_RESPONDERS: Final = "503"

# uvloop raises RuntimeError for a write on a transport that has just closed.
_GONE: Final = (nats.errors.Error, OSError, TimeoutError, RuntimeError)

_log = logging.getLogger("tidings.logs")


class LinkLost(Exception):  # not an error: the log connects again
    """The connection is gone, or nothing answers on it; what was asked may have been done or not."""


class ApiError(Exception):
    """JetStream refused: its number, and its words, which hold names and never credentials."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{text} (JetStream error {number})")
        self.number = number


class _Client(nats.aio.client.Client):
    """The library's client, which else sends its password in the clear to a server that offers no TLS."""

    demand_tls = False

    def _connect_command(self) -> bytes:
        if self.demand_tls and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server does not ask for TLS, and tls:// or ca= does")
        return super()._connect_command()

    @property
    def has_socket(self) -> bool:
        """Whether a connection was made at all: older versions fail to close where there is none."""
        return bool(self._transport)

    def abort(self) -> None:
        """Close the socket now, with all that was not sent yet: no peer that takes nothing is waited for."""
        self._pending.clear()
        self._pending_data_size = 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class Link:
    """A connection. `lost` is done when it has ended; `heard` is when the server last answered."""

    def __init__(self, client: _Client, inbox: str) -> None:
        self._client = client
        self._inbox = inbox
        self._next = 0
        self._waiting: dict[str, Callable[[Msg | None], None]] = {}
        self._outbox: deque[tuple[str, bytes, str, dict[str, str] | None]] = deque()
        self._more = asyncio.Event()
        self._writer: Task[None] | None = None
        self._endings: set[Task[None]] = set()
        self.denied = ""  # the server's last word on what this user may not do
        self.heard = get_running_loop().time()
        self.lost: Future[None] = get_running_loop().create_future()

    @classmethod
    async def connect(cls, place: Place, server: tuple[str, int]) -> "Link":
        """Return a new connection. Raises OSError, TimeoutError or nats.errors.Error when there is none."""
        client = _Client()
        client.demand_tls = place.tls
        link = cls(client, client.new_inbox())
        options: dict[str, Any] = {"tls": place.ssl_context()} if place.tls else {}
        failure: list[Exception] = []

        async def failed(error: Exception) -> None:
            failure[:] = [error]
            if "permissions violation" in str(error):
                link.denied = str(error)
                link.drop()
            elif not isinstance(error, nats.errors.Error | OSError | TimeoutError):
                # The library hands what a callback of ours raised to here, and goes on.
                _log.error("log_failed", exc_info=error)
                link.drop()

        async def closed() -> None:
            link.drop()

        host, port = server
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await client.connect(
                    [f"{'tls' if place.tls else 'nats'}://{host}:{port}"],
                    name=f"tidings {place.stream}",
                    error_cb=failed,
                    closed_cb=closed,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_TIMEOUT,
                    user=place.user,
                    password=place.password,
                    token=place.token,
                    user_credentials=place.creds,
                    pending_size=0,
                    **options,
                )
                await client.subscribe(f"{link._inbox}.*", cb=link._answered)
        except nats.errors.NoServersError:
            await link.close()
            raise failure[-1] if failure else OSError("no server") from None
        except BaseException as error:
            await link.close()
            if isinstance(error, Exception) and not isinstance(error, _GONE):
                # For a bad file of credentials the library raises anything, and its words may be of the file.
                raise nats.errors.Error(f"it cannot be connected to ({type(error).__name__})") from None
            raise
        link._writer = get_running_loop().create_task(link._write())
        return link

    @property
    def others(self) -> list[tuple[str, int]]:
        """Servers of the same cluster, as this one told us."""
        return [
            (f"[{uri.hostname}]" if ":" in uri.hostname else uri.hostname, uri.port)
            for uri in self._client.discovered_servers
            if uri.hostname and uri.port
        ]

    @property
    def most_bytes(self) -> int:
        """The longest payload that the server takes."""
        return self._client.max_payload

    def publish(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, done: Callable[[Msg | None], None]
    ) -> None:
        """Send after all that was sent before; `done` gets the answer, or None when the link is lost.

        Waits for nothing. The link must not be lost yet.
        """
        self._next += 1
        reply = f"{self._inbox}.{self._next}"
        self._waiting[reply] = done
        self._outbox.append((subject, payload, reply, headers))
        self._more.set()

    def tell(self, subject: str, payload: bytes, reply: str) -> None:
        """Send after all that was sent before; the answers go to `reply`."""
        self._outbox.append((subject, payload, reply, None))
        self._more.set()

    async def ask(self, subject: str, question: bytes = b"") -> Msg:
        """Return the answer. Raises ApiError when none comes in time, LinkLost when none does to anything."""
        if self.lost.done():
            raise LinkLost
        answer: Future[Msg | None] = get_running_loop().create_future()

        def done(message: Msg | None) -> None:
            if not answer.done():
                answer.set_result(message)

        self.publish(subject, question, None, done)
        loop = get_running_loop()
        asked = loop.time()
        deadline = asked + limits.LOG_TIMEOUT
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await answer
                    break
            except TimeoutError:
                if loop.time() < deadline + LATE:
                    if self.heard > asked:
                        # Other answers came. In a cluster without a leader some questions get none.
                        raise ApiError(NO_ANSWER, "JetStream does not answer in time") from None
                    self.drop()
                    raise LinkLost from None
                # It was this process that did not run; the answer may be in the socket, unread.
                deadline = loop.time() + 2 * LATE
        if message is None:
            raise LinkLost
        return message

    async def api(self, verb: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return JetStream's answer to `verb`. Raises ApiError when it refuses, and LinkLost."""
        message = await self.ask(API + verb, json.dumps(question).encode() if question is not None else b"")
        if no_responders(message):
            # Also the answer while a cluster has no leader: JetStream is off, or not there yet.
            raise ApiError(UNAVAILABLE, "JetStream does not answer")
        try:
            answer = json.loads(message.data)
            error = answer.get("error")
        except (ValueError, AttributeError, RecursionError):
            raise ApiError(0, "JetStream's answer is not readable") from None
        if error is not None:
            number = error.get("err_code") or error.get("code") or 0
            raise ApiError(int(number), str(error.get("description", "refused")))
        return dict(answer)

    async def subscribe(self, heard: Callable[[Msg], None]) -> tuple[str, Callable[[], None]]:
        """Return an inbox of its own whose messages `heard` gets, and what ends it."""

        async def got(message: Msg) -> None:
            self.heard = get_running_loop().time()
            heard(message)

        inbox = self._client.new_inbox()
        try:
            # Without limits, for the library drops what is over them; the bound is what a pull asks for.
            found = await self._client.subscribe(
                f"{inbox}.*", cb=got, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except _GONE:
            raise LinkLost from None

        async def unsubscribe() -> None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await found.unsubscribe()
            except _GONE:
                self.drop()

        def end() -> None:
            if not self.lost.done():
                task = get_running_loop().create_task(unsubscribe())
                self._endings.add(task)
                task.add_done_callback(self._endings.discard)

        return inbox, end

    def drop(self) -> None:
        """Lose the link now, and fail all that waits for answers. Nothing unsent is sent any more."""
        if self.lost.done():
            return
        self.lost.set_result(None)
        self._outbox.clear()
        if self._writer is not None:
            self._writer.cancel()
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(None)

    async def close(self) -> None:
        """Give back the connection and its tasks. A peer that takes nothing is not waited for."""
        self.drop()
        if tasks := self._endings | ({self._writer} if self._writer else set()):
            await asyncio.wait(tasks)
        if not self._client.has_socket:
            return
        # The library would write what it still holds, and wait for it to be taken.
        self._client.abort()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._client.close()
        except _GONE as error:
            _log.debug("log_closing reason=%s", error)  # it is aborted already

    async def flush(self) -> None:
        """Wait until the server has taken all that was sent before."""
        while self._outbox and not self.lost.done():  # noqa: ASYNC110  # the writer needs a turn or two
            await asyncio.sleep(0)
        if self.lost.done():
            return
        try:
            await self._client.flush(CLOSE_TIMEOUT)  # type: ignore[arg-type]  # a float will do
        except _GONE:
            self.drop()

    async def _answered(self, message: Msg) -> None:
        self.heard = get_running_loop().time()
        done = self._waiting.pop(message.subject, None)
        if done is not None:
            done(message)

    async def _write(self) -> None:
        outbox, publish = self._outbox, self._client.publish
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                while outbox:
                    subject, payload, reply, headers = outbox.popleft()
                    await publish(subject, payload, reply, headers)
        except _GONE:
            self.drop()


def no_responders(message: Msg) -> bool:
    """Whether nobody takes that subject: there is no such stream, or its subjects are others by now."""
    return (
        not message.data and message.headers is not None and message.headers.get("Status") == _NO_RESPONDERS
    )
