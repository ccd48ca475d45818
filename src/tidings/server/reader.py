"""Requests out of bytes (RFC 9112), by httptools.

Owns: the limits on heads and bodies, and what makes a request ambiguous. Does not own: the socket,
the routes, the deadlines. A refusal raised here ends the connection: what follows cannot be trusted.

A client sends the same header section with every request. One that the parser has taken is remembered
by its bytes, and a request that comes whole and bears it is cut out by hand: its first line and the
length of its body are all that can differ, and a WebSocket's key. Whatever is not exactly so goes to the
parser.

Clients at the same place ask the very same bytes. A question that came whole and alone is remembered by all
of its bytes, with what it was found to mean (`Questions`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httptools

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.server.paths import PUBLISH, methods
from tidings.wire.http import Request, split_target


@dataclass(frozen=True, slots=True)
class _KnownSection:
    """A header section that the parser has taken, and what it made of it."""

    headers: Mapping[str, str]
    body_bytes: int
    keep_alive: bool


# What a body in chunks may take on the wire, times its own limit: one in chunks of a byte takes six.
_AROUND_CHUNKS: Final = 8
_REMEMBERED: Final = 1_000  # header sections
_SECTION_BYTES: Final = 2_048  # longer ones are not remembered
_known: dict[bytes, _KnownSection] = {}
_QUESTIONS: Final = 4_000  # whole requests
_QUESTION_BYTES: Final = 1_024  # longer ones are not remembered
# A subset of what the parser takes, so that nothing passes here that it would refuse.
_FIRST_LINE: Final = re.compile(rb"(GET|POST) (/[A-Za-z0-9._~:/?&=,%+@-]{0,2000}) HTTP/1\.1\r\n").match
# What makes two requests with the same header section differ in more than their first line and body.
_DIFFER: Final = frozenset(("transfer-encoding", "expect"))
# All that differs between the handshakes of one kind of client.
_WEB_SOCKET_KEY: Final = re.compile(rb"\r\nSec-WebSocket-Key: ([A-Za-z0-9+/]{22}==)\r\n").search
# What a host may be (RFC 9112 §3.2, RFC 3986 §3.2.2): an address in brackets, or a name, and a port.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?").fullmatch
# Where the head was refused before it was read: whose page asks, for the answer to reach it.
_ORIGIN: Final = re.compile(rb"\r\nOrigin:[ \t]*([!-~]{1,300})[ \t]*\r\n", re.IGNORECASE).search
# A well-formed first line, of whatever method.
_ANY_REQUEST: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} ([!-~]{1,8192}) HTTP/1\.[01]\r\n").match


class Questions:
    """Requests that ask and change nothing, by all of their bytes. What they mean is their server's own."""

    def __init__(self) -> None:
        self._known: dict[bytes, Request] = {}
        # The request that `data` is, if it came before; else None.
        self.known = self._known.get

    def remember(self, data: bytes, request: Request) -> None:
        """Remember that `data` is `request`, if it is one of which only first line and body are its own."""
        if request.method != "GET" or request.body or not request.keep_alive or len(data) > _QUESTION_BYTES:
            return
        if len(self._known) >= _QUESTIONS:
            self._known.clear()
        self._known[data] = request


def _without_key(section: bytes) -> tuple[bytes, str | None]:
    """Return a header section without the value of its WebSocket key, and that value or None."""
    match = _WEB_SOCKET_KEY(section)
    if match is None:
        return section, None
    # A NUL stands where it was: no section that was read has one, so this is no other's.
    return section[: match.start(1)] + b"\0" + section[match.end(1) :], match[1].decode()


class RequestReader:
    """Reads the requests of one connection, as many as are wanted.

    `accept` takes each and says whether another may follow now. `proceed` hears that a head is
    complete and its body awaited, and whether the client waits for a word (100 Continue).
    `questions` is where those that came whole and alone are kept.
    """

    __slots__ = (
        "_accept",
        "_body",
        "_chunked_bytes",
        "_head_bytes",
        "_header_count",
        "_headers",
        "_in_body",
        "_length",
        "_most_bytes",
        "_parser",
        "_proceed",
        "_question",
        "_questions",
        "_section",
        "_tail",
        "_target",
        "_upgrades",
        "_wanted",
        "begun",
        "in_message",
        "origin",
    )

    def __init__(
        self, accept: Callable[[Request], bool], proceed: Callable[[bool], None], questions: Questions
    ) -> None:
        self._accept = accept
        self._proceed = proceed
        self._questions = questions
        self._parser = httptools.HttpRequestParser(self)
        self._wanted = True
        # The last request that was cut by hand: only its first line and its body were its own.
        self._question: Request | None = None
        self._section = b""  # the header section of the request that is read, where it came in one piece
        self.in_message = False
        self._tail = b""  # the last bytes of a request that is half-read
        self.begun = 0  # requests whose first byte has come
        # Of the request that is read: whose page asks, as far as it is known.
        self.origin: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._most_bytes = limits.BODY_BYTES
        self.origin = None
        self._head_bytes = 0
        self._header_count = 0
        self._in_body = False
        self._length = 0  # of the body, where the head says it
        self._chunked_bytes = 0  # of a body in chunks, with all that is around them
        self._upgrades = False

    @property
    def in_body(self) -> bool:
        """Whether a head was read and its body is not yet complete."""
        return self._in_body

    def feed(self, data: bytes) -> bytes:
        """Read requests from `data` as long as they are wanted; return what was not read.

        What follows a request that upgrades the connection is not read either: it is not HTTP.
        Raises Refusal for what is not a request that can be answered.
        """
        try:
            return self._feed(data)
        except Refusal:
            if self.origin is None and not self._in_body and (found := _ORIGIN(data)) is not None:
                self.origin = found[1].decode("ascii")
            raise

    def _feed(self, data: bytes) -> bytes:
        self._wanted = True
        self._question = None
        begun, fresh = self.begun, not self.in_message
        start = 0
        while self._wanted and start < len(data):
            if not self.in_message:
                start = self._cut_known(data, start)
                if not self._wanted or start == len(data):
                    break
            end = self._end_of_piece(data, start)
            whole, end = end > 0, end or len(data)
            piece = data[start:end]
            start = end
            if not self.in_message:
                line = _FIRST_LINE(piece)
                self._section = b"" if line is None or not whole else piece[line.end() - 2 :]
            self._parse(piece)
            self._tail = (self._tail + piece)[-3:] if self.in_message else b""
            if self.in_message and self._in_body and not self._length:
                # The callbacks count what is in chunks; this counts what is around them.
                self._chunked_bytes += len(piece)
                self._check_body(self._chunked_bytes // _AROUND_CHUNKS)
            elif self.in_message and not self._in_body:
                # The callbacks count what was complete; this counts a header that never ends.
                self._head_bytes += len(piece)
                self._check_head()
        if fresh and start == len(data) and self.begun == begun + 1 and not self.in_message:
            self._remember_question(data)
        return data[start:]

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Return where a request may end next, 0 when it is not in `data`.

        Nothing is to be parsed that nobody can take yet, and the parser takes all that it is given: so it is
        given no more than up to there. What looks like the end of a head may stand in chunks: the parser
        knows, and pieces are nothing to it.
        """
        if self._length:
            end = start + self._length - len(self._body)
            return end if end <= len(data) else 0
        # The end of a head, or of the last chunk, which may have begun in what came before.
        tail = self._tail
        if tail and (at := (tail + data[start : start + 3]).find(b"\r\n\r\n")) >= 0:
            return start + at + 4 - len(tail)
        at = data.find(b"\r\n\r\n", start)
        return 0 if at < 0 else at + 4

    def _remember_question(self, data: bytes) -> None:
        if self._question is not None:
            self._questions.remember(data, self._question)

    def _cut_known(self, data: bytes, start: int) -> int:
        """Accept the requests at `start` that bear known header sections; return where they end."""
        while self._wanted and (line := _FIRST_LINE(data, start)) is not None:
            section_start = line.end() - 2
            section_end = data.find(b"\r\n\r\n", section_start, section_start + _SECTION_BYTES) + 4
            section, key = _without_key(data[section_start:section_end])
            known = _known.get(section)
            if known is None or len(data) < section_end + known.body_bytes:
                break
            start = section_end + known.body_bytes
            headers = known.headers if key is None else {**known.headers, "sec-websocket-key": key}
            target = line[2].decode()
            path, query = split_target(target)
            self.begun += 1
            request = Request(
                line[1].decode(),
                target,
                headers,
                data[section_end:start],
                keep_alive=known.keep_alive,
                path=path,
                query=query,
            )
            self._question = request
            self._wanted = self._accept(request) and key is None
        return start

    def _remember(self, request: Request) -> None:
        """Remember the header section of a request in which only its first line and body can differ."""
        section, self._section = self._section, b""
        if not section or len(section) > _SECTION_BYTES or request.http_1_0:
            return
        # Only a batch may be longer, and the next one may be none.
        if len(request.body) > limits.BODY_BYTES or not _DIFFER.isdisjoint(request.headers):
            return
        section, key = _without_key(section)
        # An upgrade, only as a WebSocket's with one key: nothing may be read behind it.
        if request.headers.get("sec-websocket-key") != key or (key is not None) != self._upgrades:
            return
        if "upgrade" in request.headers and not self._upgrades:
            return
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[section] = _KnownSection(request.headers, len(request.body), request.keep_alive)

    def _parse(self, piece: bytes) -> None:
        while piece:
            try:
                self._parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # Ours is the transport's now. Any other (h2c) was answered as if it were none.
                piece = piece[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, Refusal):
                    raise error.__context__ from None
                raise
            except httptools.HttpParserInvalidMethodError:
                line = _ANY_REQUEST(piece)
                if line is None:
                    raise Refusal("bad_request", "The request does not begin as HTTP does.") from None
                allow = (("Allow", methods(line[1].decode().partition("?")[0])),)
                raise Refusal("method_not_allowed", "There is no such method in HTTP.", allow) from None
            except httptools.HttpParserError as error:
                raise Refusal("bad_request", f"The request is malformed: {str(error)[:120]}.") from None

    def _check_head(self) -> None:
        if self._head_bytes > 2 * limits.HEAD_BYTES:
            raise Refusal("head_too_large", f"A request's head is at most {limits.HEAD_BYTES} bytes.")

    def _check_body(self, size: int) -> None:
        if size > self._most_bytes:
            raise Refusal("body_too_large", f"A body is at most {self._most_bytes} bytes here.")

    # --- what httptools calls ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request's first byte has come."""
        self._reset()
        self.in_message = True
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._target += url
        if len(self._target) > limits.URI_BYTES:
            raise Refusal("uri_too_long", f"A request URI is at most {limits.URI_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or trailer: those are counted and not kept (RFC 9112 §7.1.2)."""
        self._head_bytes += len(name) + len(value) + 4
        if len(value) + len(name) > limits.HEADER_BYTES or self._head_bytes > limits.HEAD_BYTES:
            raise Refusal(
                "head_too_large",
                f"A header is at most {limits.HEADER_BYTES} bytes, and a head {limits.HEAD_BYTES}.",
            )
        self._header_count += 1
        if self._header_count > limits.HEADERS:
            raise Refusal("head_too_large", f"A request has at most {limits.HEADERS} headers.")
        if self._in_body:
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")  # before it the parser has taken it off (RFC 9110 §5.5)
        if key in self._headers:
            if key == "host":
                raise Refusal("bad_request", "The request names two hosts.")
            text = f"{self._headers[key]}{'; ' if key == 'cookie' else ', '}{text}"
        self._headers[key] = text
        if key == "origin":
            self.origin = text

    def on_headers_complete(self) -> None:
        """The head is complete."""
        headers = self._headers
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Refusal("version_unsupported", "HTTP/1.1 is spoken here, and HTTP/1.0.")
        if version == "1.1" and "host" not in headers:
            raise Refusal("bad_request", "The request names no host.")
        if _HOST(headers.get("host", "")) is None:
            raise Refusal("bad_request", "The Host header names no host.")
        if version == "1.0":
            if "transfer-encoding" in headers:
                # Who is between may not know of chunks, and see another end (RFC 9112 §6.1).
                raise Refusal("bad_request", "HTTP/1.0 has no transfer codings.")
            headers.pop("upgrade", None)  # nor upgrades (RFC 9110 §7.8)
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise Refusal("not_implemented", "The only transfer coding that is read is chunked.")
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._upgrades = self._parser.should_upgrade() and "websocket" in headers.get("upgrade", "").lower()
        if has_body:
            if "upgrade" in headers:
                # Two servers may disagree on where such a request ends: smuggling.
                raise Refusal("bad_request", "A request that upgrades the connection has no body.")
            if self._target.partition(b"?")[0] == PUBLISH.encode():
                self._most_bytes = limits.BATCH_BYTES
            self._length = 0 if "transfer-encoding" in headers else int(headers["content-length"])
            self._check_body(self._length)
            expected = headers.get("expect")
            if expected is not None and expected.lower() != "100-continue":
                raise Refusal("expectation_failed", "The only expectation that is met is 100-continue.")
            self._in_body = True
            self._proceed(expected is not None and version == "1.1")

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._check_body(len(self._body) + len(data))
        self._body += data

    def on_message_complete(self) -> None:
        """The request is complete."""
        self.in_message = self._in_body = False
        target = self._target.decode("ascii")
        path, query = split_target(target)
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            target=target,
            headers=self._headers,
            body=bytes(self._body),
            http_1_0=self._parser.get_http_version() == "1.0",
            # After an upgrade, taken or refused, the bytes that follow are not ours to read.
            keep_alive=self._parser.should_keep_alive() and not self._upgrades,
            path=path,
            query=query,
        )
        if self._section:
            self._remember(request)
        # Taken or refused, what follows an upgrade is not for this parser.
        self._wanted = self._accept(request) and not self._upgrades
        self._reset()
