"""What servers with a dialect say: Socket.IO, SockJS and Faye, in small.

Owns: those scripts. Does not own: whether the real ones speak so; they are measured.
"""

import json
from collections.abc import Sequence

from harness.servers import LONG_POLLING, SSE, WEBSOCKET

from checks.plain import CHUNKED, chunk, data, frame, message, ok, one
from checks.scripted import UPGRADED, Life, Line, Script

_OPEN = b'0{"sid":"s-1","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'
_CONNECTED = b'40{"sid":"x","pid":"p-1"}'
_SEPARATOR = b"\x1e"


def packet(size: int, offset: bytes = b"") -> bytes:
    """Return an event of Socket.IO; with connection state recovery it has an offset."""
    return b'42["message",{"id":"e-1","data":%b}%b]' % (data(size), b',"%b"' % offset if offset else b"")


def _packets() -> Sequence[Life]:
    return [
        [
            Line(UPGRADED + frame(_OPEN), b"/channels/x?EIO=4&transport=websocket HTTP"),
            Line(frame(_CONNECTED) + frame(packet(5)) + frame(b'42["other",1]') + frame(b"2"), b"40"),
            Line(frame(packet(300)) + frame(b"6") + frame(packet(9)), b"3"),
        ]
    ]


def _payloads() -> Sequence[Life]:
    return [
        [
            Line(ok(_OPEN), b"EIO=4&transport=polling HTTP"),
            Line(ok(b"ok"), b"\r\n\r\n40"),
            Line(ok(_SEPARATOR.join((_CONNECTED, packet(5), packet(400)))), b"&sid=s-1 HTTP"),
            Line(ok(b"2"), b"GET"),
            Line(ok(b"ok"), b"\r\n\r\n3"),
            Line(CHUNKED + chunk(packet(3)) + chunk(_SEPARATOR + b"6") + b"0\r\n\r\n", b"GET"),
        ]
    ]


def array(*messages: bytes) -> bytes:
    """Return a SockJS frame: an array of strings."""
    return b"a" + json.dumps([text.decode() for text in messages], separators=(",", ":")).encode()


_SOCKJS = (b"o", array(message(5)), b"h", array(message(300), b'tricky "] \\', message(7)), b"a[]")


def reply(channel: str, number: int, **members: object) -> bytes:
    content = {"id": str(number), "channel": channel, "successful": True, **members}
    return json.dumps(content).encode()


def told(size: int) -> bytes:
    return b'{"channel":"/news","data":{"channel":"/meta/no","list":[1,"]}"],"data":%b}}' % data(size)


def _bayeux() -> Sequence[Life]:
    connected = reply("/meta/connect", 3, clientId="c-1", advice={"reconnect": "retry", "timeout": 45000})
    return [
        [
            Line(UPGRADED),
            Line(frame(b"[%b]" % reply("/meta/handshake", 1, clientId="c-1", version="1.0")), b"handshake"),
            Line(frame(b"[%b]" % reply("/meta/subscribe", 2)), b'"c-1","subscription":"/news"'),
            Line(
                frame(b"[%b]" % told(5)) + frame(b"[%b, %b, %b]" % (told(9), connected, told(300))),
                b"connect",
            ),
            Line(frame(b"[%b]" % told(7)), b'"/meta/connect","clientId":"c-1"'),
        ]
    ]


def _sockjs(transport: str, said: bytes, others: int = 2, error: str = "") -> Script:
    expected = {"messages": 4, "others": others}
    return Script(transport, lambda: one(said), expected, dialect="sockjs", error=error)


SCRIPTS = {
    "Socket.IO": Script(
        WEBSOCKET,
        _packets,
        # Open, connect, another event, ping, and nothing (6).
        {"messages": 3, "others": 5},
        dialect="engineio",
        prefix='42["message",',
    ),
    "Socket.IO by long-polling": Script(
        LONG_POLLING,
        _payloads,
        {"messages": 3, "others": 4, "empties": 1, "answers": 4, "requests": 7},
        dialect="engineio",
        prefix='42["message",',
    ),
    "Socket.IO refuses": Script(
        WEBSOCKET,
        lambda: one(UPGRADED + frame(_OPEN), frame(b'44{"message":"no"}')),
        {"messages": 0},
        dialect="engineio",
        error="disconnected: 44",
    ),
    "SockJS": _sockjs(WEBSOCKET, UPGRADED + b"".join(map(frame, _SOCKJS))),
    "SockJS by eventsource": _sockjs(
        SSE, CHUNKED + chunk(b"\r\n") + b"".join(chunk(b"data: %b\r\n\r\n" % text) for text in _SOCKJS)
    ),
    "SockJS by xhr-streaming": _sockjs(
        "xhr-streaming",
        CHUNKED + chunk(b"h" * 2048 + b"\n") + b"".join(chunk(text + b"\n") for text in _SOCKJS),
        others=3,
    ),
    "SockJS closes": _sockjs(
        WEBSOCKET,
        UPGRADED + b"".join(map(frame, (*_SOCKJS, b'c[3000,"Go away!"]'))),
        others=3,
        error='the server closed: c[3000,"Go away!"]',
    ),
    "SockJS breaks its framing": _sockjs(
        WEBSOCKET, UPGRADED + b"".join(map(frame, (*_SOCKJS, b'a["half'))), error='no array: a["half'
    ),
    "Faye": Script(
        WEBSOCKET,
        _bayeux,
        {"messages": 4, "others": 3},
        dialect="faye",
        hello="/news",
    ),
    "Faye refuses": Script(
        WEBSOCKET,
        lambda: one(UPGRADED, frame(b'[{"channel":"/meta/handshake","successful":false,"error":"300::"}]')),
        {"messages": 0},
        dialect="faye",
        hello="/news",
        error="refused: ",
    ),
}
