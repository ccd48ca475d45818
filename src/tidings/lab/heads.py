"""The heads of requests as a browser sends them: Chromium's, header by header, in its order.

Owns: their bytes. Does not own: who sends them. A real browser's are within a few bytes of these; its name
and the reader's languages make the difference.
"""

from typing import Final

_AGENT: Final = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36"
)
_BRAND: Final = 'sec-ch-ua: "Not:A-Brand";v="8", "Chromium";v="142"'
_MOBILE: Final = "sec-ch-ua-mobile: ?0"
_PLATFORM: Final = 'sec-ch-ua-platform: "Linux"'
_FRESH: Final = ("Pragma: no-cache", "Cache-Control: no-cache")
_FETCHED: Final = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")
_ACCEPTED: Final = ("Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-GB,en;q=0.9")


def _joined(method: str, target: str, host: str, lines: tuple[str, ...]) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def fetch(target: str, host: str) -> bytes:
    """Return what `fetch(target)` sends."""
    lines = ("Connection: keep-alive", _PLATFORM, _AGENT, _BRAND, _MOBILE, "Accept: */*")
    return _joined("GET", target, host, (*lines, *_FETCHED, *_ACCEPTED))


def event_source(target: str, host: str) -> bytes:
    """Return what `new EventSource(target)` sends."""
    lines = ("Connection: keep-alive", *_FRESH, _PLATFORM, _AGENT, "Accept: text/event-stream")
    return _joined("GET", target, host, (*lines, _BRAND, _MOBILE, *_FETCHED, *_ACCEPTED))


def web_socket(target: str, host: str, key: str) -> bytes:
    """Return what `new WebSocket(target, "tidings.v1")` sends; `key` is 16 bytes in base64."""
    asked = (
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "Sec-WebSocket-Protocol: tidings.v1",
    )
    lines = ("Connection: Upgrade", *_FRESH, _AGENT, "Upgrade: websocket", f"Origin: http://{host}")
    return _joined("GET", target, host, (*lines, "Sec-WebSocket-Version: 13", *_ACCEPTED, *asked))


def post(target: str, host: str, body: bytes) -> bytes:
    """Return a whole request that publishes `body`; a program sends it, so it is short."""
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    return _joined("POST", target, host, lines) + body
