"""The opening handshake of a WebSocket (RFC 6455 §4.2): a request's headers → the answer that upgrades.

Owns: the 101, and what is refused. Does not own: the judgement, which is the websockets library's, sans
I/O; frames (web_socket.py).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from websockets.datastructures import Headers as HandshakeHeaders
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from tidings.core.errors import Refusal
from tidings.wire.http import Headers, Request, Response
from tidings.wire.web_socket import SUBPROTOCOL


def accept(request: Request) -> Response:
    """Return the 101 that completes the handshake; refuses with `bad_request` or `upgrade_required`."""
    asked = tuple((name, request.headers[name]) for name in _DECISIVE if name in request.headers)
    key = request.headers.get("sec-websocket-key", "")
    # A key that is none is the library's to refuse.
    answer = _accept_any_key(asked) if _KEY(key) else _shake_hands((*asked, ("sec-websocket-key", key)))
    return Response(101, (*answer, ("Sec-WebSocket-Accept", accept_key(key))))


# All that the answer depends on, but for the key, which is 16 bytes in base64.
_DECISIVE: Final = (
    "connection",
    "upgrade",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
)
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==").fullmatch


@lru_cache(maxsize=256)
def _accept_any_key(asked: Headers) -> Headers:
    """Return the answer to a handshake with a good key: the clients of one kind all say the same."""
    return _shake_hands((*asked, ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")))


def _shake_hands(asked: Headers) -> Headers:
    """Return the library's answer but for the accept key, or refuse as it does."""
    headers = HandshakeHeaders()
    for name, value in asked:
        headers[name] = value
    protocol = ServerProtocol(select_subprotocol=_select_subprotocol)
    accepted = protocol.accept(Handshake("/", headers))
    if accepted.status_code == 101:
        own = ("Date", "Sec-WebSocket-Accept")
        return tuple((name, value) for name, value in accepted.headers.raw_items() if name not in own)
    said = f"The WebSocket handshake is malformed: {_one_line(protocol.handshake_exc)}."
    if accepted.status_code == 426:
        more = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
        raise Refusal("upgrade_required", said, more)
    raise Refusal("bad_request", said, (("Sec-WebSocket-Version", "13"),))


def _select_subprotocol(_protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Speak ours where it is offered, and the same without a name where it is not."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _one_line(error: Exception | None) -> str:
    return ascii(str(error))[1:-1][:200]
