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
from tidings.server.folder import Folder
from tidings.server.pages import Pages
from tidings.server.paths import PUBLISH, methods, names_channels
from tidings.server.publish import publish, publish_batch
from tidings.server.siblings import Gathering
from tidings.transports import long_polling, polling, sse, web_socket
from tidings.transports.ask import Ask, AskReader, Transport
from tidings.transports.carrier import Awaited, Carrier
from tidings.wire import http
from tidings.wire.http import Headers, Request, Response

if TYPE_CHECKING:
    from tidings.server.app import App
    from tidings.server.connection import Connection


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
    seconds a shared cache may keep answers about a channel. `static` is an application's own folder.
    """

    def __init__(
        self,
        app: "App",
        allowed_origins: frozenset[str],
        *,
        loopback: bool,
        max_age: Rules[float],
        static: str | None = None,
    ) -> None:
        self._app = app
        self._allowed_origins = allowed_origins
        self._loopback = loopback
        self._asks = AskReader(limits.CHANNELS_PER_REQUEST, max_age, app.hub.places.numbering)
        self._pages = Pages()
        self.admin = admin = Admin(app)
        self._fixed: dict[str, Callable[[], Response]] = {
            "/livez": admin.alive,
            "/readyz": admin.ready,
            "/metrics": admin.metrics,
            "/version": admin.version,
        }
        if static is not None:
            self._pages.put_before(Folder(static))

    def serve(self, request: Request, connection: "Connection") -> Response | None:
        """Return the answer, or None when a transport has taken over the connection. Raises Refusal."""
        meant: _Meaning | None = request.meaning
        if meant is not None:
            if meant.cors:
                connection.add_headers(meant.cors)
            if (
                meant.answer is None
                or connection.surplus
                or self._app.draining
                or not self._app.hub.arrivals.knows(meant.asked.start)
            ):
                return self._ask(request, meant.asked, connection)
            return meant.answer(self._app.hub, meant.asked, connection)
        path = request.path
        if names_channels(path):
            cors = self._check_origin(request, connection)
            return self._channels(request, path[10:], cors, connection)
        if path == PUBLISH:
            self._check_origin(request, connection)
            return self._batch(request, connection)
        if request.method == "OPTIONS":
            return Response(204, (("Allow", methods(path)),))
        if request.method not in ("GET", "HEAD"):
            raise _wrong_method(path, "This path is read with GET.")
        if path == "/metrics" and self._app.siblings is not None:
            Gathering(self.admin, self._app.siblings, connection)
            return None
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed()
        return self._pages.get(request)

    def seen_by(self, origin: str | None) -> Headers:
        """Return the headers that let the page of `origin` see why its request could not be read."""
        return guards.let_see(origin) if origin is not None and origin in self._allowed_origins else ()

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
            raise _wrong_method(request.path, "A channel is read with GET and published to with POST.")
        asked = self._asks.read(request, names)
        answer = _ANSWERS.get(asked.transport) if request.method == "GET" else None
        request.meaning = _Meaning(asked, cors, answer)
        return self._ask(request, asked, connection)

    def _ask(self, request: Request, asked: Ask, connection: "Connection") -> Response | None:
        if connection.surplus or self._app.draining or self._app.deaf:
            turned_away = self._turn_away(asked, connection)
            if turned_away is not None:
                return turned_away
        return self._read(request, asked, connection)

    def _batch(self, request: Request, connection: "Connection") -> Response | None:
        if request.method == "OPTIONS":
            return Response(204, guards.preflight(request))
        if request.method != "POST":
            raise _wrong_method(request.path, "A batch is published with POST.")
        return publish_batch(self._app.hub, request, connection)

    def _turn_away(self, asked: Ask, connection: "Connection") -> Response | None:
        """Turn new readers away while the server stops, is full or is deaf, each to another moment.

        While it stops, who is connected is served until its turn to leave comes: else all the
        waiters that one message answers would be turned away in the same second.
        """
        streams = asked.transport in (Transport.SSE, Transport.WEB_SOCKET)
        too_many = connection.surplus and self._app.full
        if not too_many and not ((self._app.draining or self._app.deaf) and streams):
            return None
        connection.close_behind()
        retry_ms = self._app.retry_ms()
        code = "shutting_down" if self._app.draining else "log_unavailable"
        if too_many:
            code = "too_many_connections"
        if asked.transport is Transport.SSE:
            connection.refused(code)
            return sse.only_retry(retry_ms)
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
        if not hub.arrivals.knows(asked.start):
            held = _Held(self, request, asked, connection)
            connection.hold(held, 2 * limits.LOG_TIMEOUT)
            hub.arrivals.reach(asked.start, held.told)
            return None
        return self.answer(request, asked, connection)

    def answer(self, request: Request, asked: Ask, connection: "Connection") -> Response | None:
        """Return what `asked` comes to, from a place that this node knows; see serve."""
        hub = self._app.hub
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


def _wrong_method(path: str, detail: str) -> Refusal:
    return Refusal("method_not_allowed", detail, (("Allow", methods(path)),))


class _Held(Awaited):
    """A request whose cursor this node does not know yet; see hub/arrivals.py."""

    __slots__ = ("_asked", "_connection", "_gone", "_request", "_routes")

    def __init__(self, routes: Routes, request: Request, asked: Ask, connection: "Connection") -> None:
        self._routes = routes
        self._request = request
        self._asked = asked
        self._connection = connection
        self._gone = False

    def told(self, known: bool) -> None:  # noqa: FBT001  called by position
        """The node knows by now, or cannot find out."""
        if self._gone:
            return
        self._gone = True
        connection = self._connection
        try:
            if not known:
                raise Refusal("log_unavailable", "The log cannot be asked; come back.")
            response = self._routes.answer(self._request, self._asked, connection)
        except Refusal as refusal:
            connection.refused(refusal.kind.code)
            if self._asked.transport is Transport.SSE:
                # Any status but 200 would end a browser's EventSource for good.
                connection.close_behind()
                response = sse.only_retry(limits.RETRY_MS)
            else:
                if self._asked.transport is Transport.WEB_SOCKET:
                    connection.close_behind()
                response = http.refusal(refusal)
        if response is not None:
            connection.reply(response)

    def expired(self) -> None:
        """Never late: whoever waits is told within the log's time."""
        self.told(False)

    def lost(self) -> None:
        """The client went away."""
        self._gone = True

    def drain(self, _reconnect_within_ms: int, _code: str) -> bool:
        """It is answered first, in a moment."""
        return False
