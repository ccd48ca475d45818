"""One client's connection: bytes in, requests in order, answers out.

Owns: the order of answers, keep-alive, deadlines of reading, back pressure. Does not own: what a
request means (routes.py), what a stream says (transports/).
Invariant: at most one exchange occupies the connection; requests behind it wait, a bounded number of them.
"""

import logging
from asyncio import BaseTransport, Protocol, Transport
from typing import TYPE_CHECKING, cast

from tidings.core import limits
from tidings.core.errors import CODES, Refusal
from tidings.server.listener import sends_at_once
from tidings.server.reader import RequestReader
from tidings.transports.carrier import Exchange, Writer
from tidings.wire import http
from tidings.wire.http import Headers, Request, Response

if TYPE_CHECKING:
    from tidings.server.app import App

_log = logging.getLogger("tidings.connection")


class Connection(Protocol):
    """A connection of the native server, and the Carrier of what occupies it (transports/carrier.py)."""

    __slots__ = (
        "_app",
        "_backlog",
        "_closes_behind",
        "_closing",
        "_exchange",
        "_extra",
        "_paused",
        "_reader",
        "_request",
        "_streams",
        "_takes_input",
        "_transport",
        "due",
        "slot",
        "surplus",
    )

    def __init__(self, app: "App") -> None:
        self._app = app
        self._transport: Transport
        self._reader: RequestReader | None = None
        # The request that is being answered, and the headers that its answer bears besides its own.
        self._request: Request | None = None
        self._closes_behind = False
        self._extra: Headers = ()
        self._exchange: Exchange | None = None
        self._streams = False
        self._takes_input = False
        self._backlog = b""
        self._paused = False
        self._closing = False
        self.slot = -1
        self.due = 0

    # --- what the event loop calls ------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        """A client has connected."""
        # uvloop's transports have asyncio's interface, but not its classes.
        self._transport = cast("Transport", transport)
        # Push back at the first byte that the kernel does not take: what waits is kept in the
        # history, once, and not here for each. Over TLS both loops push back at a buffer that has
        # reached the mark, so that 0 would stop the first write.
        encrypted = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=limits.WRITE_BUFFER if encrypted else 0)
        self._app.connections.add(self)
        # One too many: it is turned away, not those that were there before.
        self.surplus = self._app.full
        self._app.wheel.set(self, limits.HEAD_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The client has gone, or we have closed."""
        self._closing = True
        self._app.wheel.clear(self)
        self._app.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        self._reader = self._request = None
        self._backlog = b""
        if exchange is not None:
            exchange.lost()

    def eof_received(self) -> bool:
        """The client sends no more. Who has hung up on a parked question or a stream is gone."""
        return False

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        reader = self._reader
        if (
            self._is_free()
            and not self._backlog
            and (reader is None or not reader.in_message)
            and (known := self._app.questions.known(data)) is not None
        ):
            self._serve(known)
            if self._exchange is not None:
                self._reader = None
            return
        if self._closing:
            return
        if self._takes_input:
            self._take_rest(data)
            return
        if self._streams:
            return  # an event stream goes one way; what the client sends on it has no meaning
        if self._backlog or not self._is_free():
            self._wait(data)
            return
        if reader is None:
            reader = self._reader = RequestReader(self._accept, self._proceed, self._app.questions)
        begun = reader.begun
        try:
            rest = reader.feed(data)
        except Refusal as refusal:
            self._refuse_and_close(refusal)
            return
        if reader.in_message and reader.begun != begun and not reader.in_body:
            self._app.wheel.set(self, limits.HEAD_TIMEOUT)
        if self._exchange is not None:
            # A parked or streaming connection needs no parser, and nothing is half-read.
            self._reader = None
        if rest:
            self._take_rest(rest)

    def _take_rest(self, data: bytes) -> None:
        """Take what the last request left unread: a WebSocket's first frames, or requests behind it."""
        if self._takes_input and self._exchange is not None:
            self._exchange.received(data)
        elif not self._closing:
            self._wait(data)

    def _wait(self, data: bytes) -> None:
        """Keep what was asked behind a request that is not answered yet, within a bound."""
        if self._streams:
            return  # behind a stream that never ends
        self._backlog += data
        self._transport.pause_reading()
        if len(self._backlog) > limits.PIPELINED_BYTES:
            _log.info("refused code=pipelined_too_much peer=%s", self._peer())
            self.abort()

    def pause_writing(self) -> None:
        """The kernel takes no more bytes."""
        self._paused = True
        if self._streams and self._exchange is not None:
            self._exchange.pushed_back()
        else:
            # Answers that are not read: read no more questions.
            self._transport.pause_reading()
            self._app.wheel.set(self, limits.WRITE_TIMEOUT)

    def resume_writing(self) -> None:
        """The kernel takes bytes again."""
        self._paused = False
        if self._closing:
            self._app.wheel.set(self, limits.CLOSE_GRACE)
            return
        if self._streams and self._exchange is not None:
            self._exchange.took_again()
        else:
            self._app.wheel.set(self, limits.KEEP_ALIVE)
            self._read_on()

    def expired(self) -> None:
        """The wheel's word: a deadline has come."""
        reader = self._reader
        if self._closing or (self._paused and not self._streams):
            self._transport.abort()
        elif self._exchange is not None:
            self._exchange.expired()
        elif reader is not None and reader.in_message:
            what = "body" if reader.in_body else "head"
            self._refuse_and_close(
                Refusal("request_timeout", f"The request's {what} did not arrive in time.")
            )
        else:
            self.finish()

    # --- requests in order ----------------------------------------------------------------------

    def _proceed(self, expects_continue: bool) -> None:  # noqa: FBT001  called by position
        """A head is complete, and its body awaited."""
        if self._exchange is None:
            self._app.wheel.set(self, limits.BODY_TIMEOUT)
            if expects_continue:
                self._transport.write(http.CONTINUE)

    def _accept(self, request: Request) -> bool:
        """A request is complete. Returns whether another one can be taken now."""
        self._serve(request)
        return self._is_free()

    def _is_free(self) -> bool:
        """Whether a request can be taken: nothing is being answered, and answers are read."""
        return self._exchange is None and not self._paused and not self._closing

    def _read_on(self) -> None:
        """Read what waited behind an answer."""
        if not self._is_free():
            return
        self._transport.resume_reading()
        if self._backlog:
            data, self._backlog = self._backlog, b""
            self.data_received(data)

    def _serve(self, request: Request) -> None:
        self._request = request
        self._closes_behind = not request.keep_alive
        self._extra = ()
        self._app.requests += 1
        try:
            response = self._app.routes.serve(request, self)
        except Refusal as refusal:
            self.refused(refusal.kind.code)
            if "upgrade" in request.headers or refusal.kind.code == "shutting_down":
                self._closes_behind = True
            response = http.refusal(refusal)
        except Exception:
            _log.exception("failed on %s %s", request.method, request.path)
            self.refused("internal")
            if self._streams:
                self.abort()  # a head has gone: no other answer can follow it
                return
            self._closes_behind = True
            response = http.refusal(
                Refusal("internal", "The server failed on this request; its log says why.")
            )
        if response is not None:
            self.reply(response)

    def close_behind(self) -> None:
        """Close the connection when the request that is being served is answered."""
        self._closes_behind = True

    def add_headers(self, headers: Headers) -> None:
        """Add `headers` to the answer of the request that is being served."""
        self._extra += headers

    def _refuse_and_close(self, refusal: Refusal) -> None:
        """Refuse what could not be read to its end."""
        self.refused(refusal.kind.code)
        if self._exchange is not None:
            # It would be taken for the answer to the request that is still open.
            self._transport.close()
            return
        self._closing = True
        extra = self._app.routes.seen_by(None if self._reader is None else self._reader.origin)
        now = self._app.unix_seconds()
        self._transport.write(http.response(http.refusal(refusal), now, extra=extra, close=True))
        self._linger()

    def refused(self, code: str) -> None:
        """See Carrier. What many are told at once, while the server is full or stops, is only counted."""
        self._app.refusals[code] += 1
        if CODES[code].status < 500 or code == "too_slow":
            _log.info("refused code=%s peer=%s", code, self._peer())

    def _peer(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"

    # --- what a transport may ask for (Carrier) -------------------------------------------------

    def hold(self, exchange: Exchange, seconds: float) -> None:
        """See Carrier."""
        self._exchange = exchange
        self._app.wheel.set(self, seconds)

    def reply(self, response: Response) -> None:
        """See Carrier."""
        request = self._request
        if request is None or self._closing:
            return
        held = self._exchange is not None
        self._exchange = self._request = None
        if self._extra and any(name == "Vary" for name, _ in response.headers):
            # One line: some caches heed only one. A response of its own says Origin among others.
            self._extra = tuple(header for header in self._extra if header[0] != "Vary")
        closes = self._closes_behind
        if not closes and not self._extra and not request.http_1_0 and request.method != "HEAD":
            # Rendered once for all that are answered the same.
            raw = response.raw
            if raw is None:
                raw = response.raw = http.response(response, self._app.unix_seconds())
            self._transport.write(raw)
        else:
            if request.http_1_0 and not closes:
                self._extra += (("Connection", "keep-alive"),)
            raw = http.response(
                response,
                self._app.unix_seconds(),
                extra=self._extra,
                close=closes,
                body=request.method != "HEAD",
            )
            self._transport.write(raw)
        if closes:
            self.finish()
            return
        if not self._paused:
            self._app.wheel.set(self, limits.KEEP_ALIVE)
        if held and self._backlog:
            # Not from within a walk over a cohort: what is asked next may change cohorts.
            self._app.loop.call_soon(self._read_on)

    def open(self, exchange: Exchange, head: Response, first: bytes, *, takes_input: bool) -> None:
        """See Carrier."""
        now = self._app.unix_seconds()
        headers = (("Date", http.date(now)), *head.headers, *self._extra)
        if not takes_input:
            headers += (("Connection", "close"),)
        self._exchange = exchange
        self._request = None
        self._extra = ()
        self._streams = True
        self._takes_input = takes_input
        self._backlog = b""
        self._transport.write(http.head(head.status, headers) + first)

    def write(self, data: bytes) -> None:
        """See Carrier."""
        if not self._closing and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def writer(self) -> Writer:
        """See Carrier."""
        return self._transport.write

    @property
    def descriptor(self) -> int | None:
        """See Carrier."""
        transport = self._transport
        if not sends_at_once() or transport.get_extra_info("sslcontext") is not None:
            return None
        sock = transport.get_extra_info("socket")
        number: int = -1 if sock is None else sock.fileno()
        return None if number < 0 else number

    def timer(self, seconds: float) -> None:
        """See Carrier."""
        self._app.wheel.set(self, seconds)

    def finish(self) -> None:
        """See Carrier."""
        if not self._closing:
            self._closing = True
            self._linger()

    def _linger(self) -> None:
        """Half-close, and drop what still comes for a moment.

        Closing with bytes unread makes the kernel reset the connection, and the client may then
        lose the answer that was meant for it.
        """
        self._backlog = b""
        if self._transport.is_closing():
            return
        # A long answer to a slow reader is given its time; the grace begins when it is sent.
        self._app.wheel.set(self, limits.WRITE_TIMEOUT if self._paused else limits.CLOSE_GRACE)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    def abort(self) -> None:
        """See Carrier."""
        self._closing = True
        self._transport.abort()

    def pause_reading(self) -> None:
        """See Carrier."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See Carrier."""
        if not self._closing:
            self._transport.resume_reading()

    def advise(self, advice: dict[str, int]) -> None:
        """Give the client of an open stream a hint (spec §5.5), where it takes bytes."""
        if self._streams and self._exchange is not None and not self._paused and not self._closing:
            self._exchange.advise(advice)

    def send_away(self, reconnect_within_ms: int, code: str) -> None:
        """End a stream that cannot be served, if it is one; other questions are answered as ever."""
        if self._streams and self._exchange is not None and not self._closing:
            self._exchange.drain(reconnect_within_ms, code)

    def drain(self, reconnect_within_ms: int) -> bool:
        """The server stops: end what goes on, or close if nothing does.

        Returns False while that must wait: for a request that is half-read, an answer that is
        awaited, a subscriber that has not been written everything.
        """
        if self._closing:
            return True
        if self._exchange is not None:
            self._closes_behind = True
            return self._exchange.drain(reconnect_within_ms, "shutting_down")
        if self._paused or (self._reader is not None and self._reader.in_message):
            return False
        self.finish()
        return True
