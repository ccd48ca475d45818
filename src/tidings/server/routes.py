"""Which request means what: one URL for a channel, five ways to use it (spec §2.1).

Owns: paths and methods. Does not own: what is answered.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.server import guards
from tidings.server.admin import Admin
from tidings.server.pages import Pages
from tidings.server.publish import publish
from tidings.transports import ask, long_polling, polling, sse, web_socket
from tidings.transports.ask import Transport
from tidings.wire.http import Request, Response

if TYPE_CHECKING:
    from tidings.server.app import App
    from tidings.server.connection import Connection

_CHANNELS: Final = "/channels"


class Routes:
    """Serves requests, one at a time and at once; what must wait holds the connection."""

    def __init__(self, app: "App", allowed_origins: frozenset[str], *, loopback: bool) -> None:
        self._app = app
        self._allowed_origins = allowed_origins
        self._loopback = loopback
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
        path = request.path
        if path.startswith(_CHANNELS) and (len(path) == 9 or path[9] == "/"):
            if cors := guards.check_origin(request, self._allowed_origins, loopback=self._loopback):
                connection.add_headers(cors)
            return self._channels(request, path[10:], connection)
        if request.method == "OPTIONS":
            return Response(204, (("Allow", "GET, HEAD, OPTIONS"),))
        if request.method not in ("GET", "HEAD"):
            raise Refusal(
                "method_not_allowed", "This path is read with GET.", (("Allow", "GET, HEAD, OPTIONS"),)
            )
        fixed = self._fixed.get(path)
        return self._pages.get(path) if fixed is None else fixed()

    def _channels(self, request: Request, names: str, connection: "Connection") -> Response | None:
        if request.method == "OPTIONS":
            return Response(204, guards.preflight(request))
        if request.method == "POST":
            if self._app.draining:
                request.keep_alive = False
                raise Refusal(
                    "shutting_down", "Publish again, with the same Idempotency-Key.", (("Retry-After", "1"),)
                )
            return publish(self._app.hub, request, names, connection)
        if request.method not in ("GET", "HEAD"):
            raise Refusal(
                "method_not_allowed",
                "A channel is read with GET and published to with POST.",
                (("Allow", "GET, HEAD, POST, OPTIONS"),),
            )
        return self._read(request, names, connection)

    def _read(self, request: Request, names: str, connection: "Connection") -> Response | None:
        hub = self._app.hub
        asked = ask.read(request, names, limits.CHANNELS_PER_REQUEST)
        if self._app.draining or self._app.full:
            if asked.transport is Transport.SSE:
                request.keep_alive = False
                return sse.only_retry(self._app.retry_ms())
            code = "shutting_down" if self._app.draining else "too_many_connections"
            seconds = str(-(-self._app.retry_ms() // 1000))
            request.keep_alive = False
            raise Refusal(code, "Come back after the time in Retry-After.", (("Retry-After", seconds),))
        if request.method == "HEAD":
            if asked.transport is Transport.WEB_SOCKET:
                raise Refusal("method_not_allowed", "A WebSocket begins with GET.", (("Allow", "GET"),))
            if asked.transport is Transport.SSE:
                request.keep_alive = False
                return sse.head()
            return polling.answer(hub, asked)
        match asked.transport:
            case Transport.POLLING:
                return polling.answer(hub, asked)
            case Transport.LONG_POLLING:
                return long_polling.answer(hub, asked, connection)
            case Transport.SSE:
                sse.open_stream(hub, asked, connection)
            case Transport.WEB_SOCKET:
                web_socket.open_socket(hub, asked, request, connection)
        return None
