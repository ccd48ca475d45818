"""Which request means what: one URL for a channel, five ways to use it (spec §2.1).

Owns: paths and methods, and when new work is refused. Does not own: what is answered.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.patterns import Rules
from tidings.hub import Hub
from tidings.server import guards
from tidings.server.admin import Admin
from tidings.server.pages import Pages
from tidings.server.publish import publish, publish_batch
from tidings.transports import long_polling, polling, sse, web_socket
from tidings.transports.ask import Ask, AskReader, Transport
from tidings.transports.carrier import Carrier
from tidings.wire.http import Headers, Request, Response

if TYPE_CHECKING:
    from tidings.server.app import App
    from tidings.server.connection import Connection

_CHANNELS: Final = "/channels"
_READ: Final = (("Allow", "GET, HEAD, OPTIONS"),)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a request to read channels was found to ask, and what its answer bears for its origin."""

    asked: Ask
    cors: Headers
    answer: Callable[[Hub, Ask, Carrier], Response | None] | None


# What answers a GET at once, or holds it.
_ANSWERS: Final = {Transport.POLLING: polling.answer, Transport.LONG_POLLING: long_polling.answer}


class Routes:
    """Serves requests, one at a time and at once; what must wait holds the connection.

    `allowed_origins` are those of foreign pages that may connect. `max_age` says for how many
    seconds a shared cache may keep answers about a channel.
    """

    def __init__(
        self, app: "App", allowed_origins: frozenset[str], *, loopback: bool, max_age: Rules[float]
    ) -> None:
        self._app = app
        self._allowed_origins = allowed_origins
        self._loopback = loopback
        self._asks = AskReader(limits.CHANNELS_PER_REQUEST, max_age)
        self._pages = Pages()
        admin = Admin(app)
        self._fixed: dict[str, Callable[[], Response]] = {
            "/livez": admin.alive,
            "/readyz": admin.ready,
            "/metrics": admin.metrics,
            "/version": admin.version,
        }

    def serve(self, request: Request, connection: "Connection") -> Response | None:
        """Return the answer, or None when a transport has taken over the connection. Raises Refusal."""
        meant: _Meaning | None = request.meaning
        if meant is not None:
            if meant.cors:
                connection.add_headers(meant.cors)
            if meant.answer is None or connection.surplus or self._app.draining:
                return self._ask(request, meant.asked, connection)
            return meant.answer(self._app.hub, meant.asked, connection)
        path = request.path
        if path.startswith(_CHANNELS) and (len(path) == 9 or path[9] == "/"):
            cors = self._check_origin(request, connection)
            return self._channels(request, path[10:], cors, connection)
        if path == "/publish":
            self._check_origin(request, connection)
            return self._batch(request, connection)
        if request.method == "OPTIONS":
            return Response(204, _READ)
        if request.method not in ("GET", "HEAD"):
            raise Refusal("method_not_allowed", "This path is read with GET.", _READ)
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed()
        return self._pages.get(path, request.headers.get("if-none-match"))

    def _check_origin(self, request: Request, connection: "Connection") -> Headers:
        if cors := guards.check_origin(request, self._allowed_origins, loopback=self._loopback):
            connection.add_headers(cors)
        return cors

    def _channels(
        self, request: Request, names: str, cors: Headers, connection: "Connection"
    ) -> Response | None:
        if request.method == "OPTIONS":
            return Response(204, guards.preflight(request))
        if request.method == "POST":
            return publish(self._app.hub, request, names, connection)
        if request.method not in ("GET", "HEAD"):
            raise Refusal(
                "method_not_allowed",
                "A channel is read with GET and published to with POST.",
                (("Allow", "GET, HEAD, POST, OPTIONS"),),
            )
        asked = self._asks.read(request, names)
        answer = _ANSWERS.get(asked.transport) if request.method == "GET" else None
        request.meaning = _Meaning(asked, cors, answer)
        return self._ask(request, asked, connection)

    def _ask(self, request: Request, asked: Ask, connection: "Connection") -> Response | None:
        if connection.surplus or self._app.draining:
            turned_away = self._turn_away(asked, connection)
            if turned_away is not None:
                return turned_away
        return self._read(request, asked, connection)

    def _batch(self, request: Request, connection: "Connection") -> Response | None:
        if request.method == "OPTIONS":
            return Response(204, guards.preflight(request))
        if request.method != "POST":
            raise Refusal(
                "method_not_allowed", "A batch is published with POST.", (("Allow", "POST, OPTIONS"),)
            )
        return publish_batch(self._app.hub, request, connection)

    def _turn_away(self, asked: Ask, connection: "Connection") -> Response | None:
        """Turn new readers away while the server stops or is full, each to another moment.

        While it stops, who is connected is served until its turn to leave comes: else all the
        waiters that one message answers would be turned away in the same second.
        """
        streams = asked.transport in (Transport.SSE, Transport.WEB_SOCKET)
        too_many = connection.surplus and self._app.full
        if not too_many and not (self._app.draining and streams):
            return None
        connection.close_behind()
        retry_ms = self._app.retry_ms()
        if asked.transport is Transport.SSE:
            return sse.only_retry(retry_ms)
        code = "shutting_down" if self._app.draining else "too_many_connections"
        retry_after = (("Retry-After", str(-(-retry_ms // 1000))),)
        raise Refusal(code, "Come back after the seconds in Retry-After.", retry_after)

    def _read(self, request: Request, asked: Ask, connection: "Connection") -> Response | None:
        hub = self._app.hub
        if request.method == "HEAD":
            if asked.transport is Transport.WEB_SOCKET:
                raise Refusal("method_not_allowed", "A WebSocket begins with GET.", (("Allow", "GET"),))
            if asked.transport is Transport.SSE:
                connection.close_behind()
                return sse.head()
            asked = replace(asked, wait=0.0)  # the head of what there is now
        match asked.transport:
            case Transport.POLLING:
                return polling.answer(hub, asked, connection)
            case Transport.LONG_POLLING:
                return long_polling.answer(hub, asked, connection)
            case Transport.SSE:
                sse.open_stream(hub, asked, connection)
            case Transport.WEB_SOCKET:
                web_socket.open_socket(hub, asked, request, connection)
        return None
