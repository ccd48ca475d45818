"""What servers say before and after a cut, where a client must come back from the place it was cut at.

Owns: those scripts. A client that comes back from elsewhere is closed, and so does not catch up.
"""

from collections.abc import Sequence

from harness.servers import LONG_POLLING, POLLING, SSE, WEBSOCKET

from checks.dialects import array, packet, reply, told
from checks.plain import STREAM, answer, data, event, frame, message, ok
from checks.scripted import UPGRADED, Line, Script

_DATE = b"Last-Modified: Mon, 23 Nov 2026 06:00:0%d GMT\r\n"
_ETAG = b"ETag: 0\r\n"
_OPEN = b'0{"sid":"s-%d"}'
_CONNECTED = b'40{"sid":"x","pid":"p-1"}'
_RECOVERED = b'40{"pid":"p-1","offset":"o-2"}'
_TWICE = frame(message(9, 6)) + frame(message(9, 7))


def _meta(number: int) -> bytes:
    return frame(b"id: %d:0\ncontent-type: application/json\n\n%b" % (number, data(9)))


def _bayeux(client: str) -> Sequence[Line]:
    return (
        Line(UPGRADED),
        Line(frame(b"[%b]" % reply("/meta/handshake", 1, clientId=client))),
        Line(frame(b"[%b]" % reply("/meta/subscribe", 2)), b'"%b","subscription"' % client.encode()),
    )


SCRIPTS = {
    "frames, by cursor": Script(
        WEBSOCKET,
        lambda: [
            [
                Line(
                    UPGRADED
                    + frame(b'{"ready":{"cursor":"e-3"}}')
                    + frame(message(9, 4))
                    + frame(message(9, 5))
                )
            ],
            [Line(UPGRADED + frame(b'{"ready":{"cursor":"e-5"}}') + _TWICE, b"?after=e-5 ")],
        ],
        {"messages": 4},
        each=2,
    ),
    "frames, before any message": Script(
        WEBSOCKET,
        lambda: [
            [Line(UPGRADED + frame(b'{"ready":{"cursor":"e-3","channels":["x"]}}'))],
            [Line(UPGRADED + _TWICE, b"?after=e-3 ")],
        ],
        {"messages": 2},
        each=2,
    ),
    "frames, anew": Script(
        WEBSOCKET,
        lambda: [[Line(UPGRADED + frame(message(9, 4)))], [Line(UPGRADED + _TWICE, b"GET /channels/x HTTP")]],
        {"messages": 3},
        each=2,
        resume="none",
    ),
    "frames, by the id in them": Script(
        WEBSOCKET,
        lambda: [
            [Line(UPGRADED + _meta(4) + _meta(5))],
            [Line(UPGRADED + _meta(6) + _meta(7), b"Last-Event-ID: 5:0\r\n")],
        ],
        {"messages": 4},
        each=2,
        resume="etag",
        prefix="id: ",
    ),
    "events, the last one cut": Script(
        SSE,
        lambda: [
            [Line(STREAM + event(9, number=4) + b"id: e-5\ndata: half")],
            [Line(STREAM + event(9, number=5), b"?after=e-4 ")],
        ],
        {"messages": 2},
        each=1,
    ),
    "events, by Last-Event-ID": Script(
        SSE,
        lambda: [
            [Line(STREAM + event(9, number=4) + b":\n\n")],
            [Line(STREAM + event(9, number=5), b"Last-Event-ID: e-4\r\n")],
        ],
        {"messages": 2},
        each=1,
        resume="etag",
    ),
    "long-polls, by cursor": Script(
        LONG_POLLING,
        lambda: [
            [Line(ok(answer(2, 4))), Line(b"", b"?after=e-4 ")],
            [Line(ok(answer(2, 6)), b"?after=e-4 "), Line(b"", b"?after=e-6 ")],
        ],
        {"messages": 4},
        each=2,
    ),
    "long-polls, by ETag": Script(
        LONG_POLLING,
        lambda: [
            [
                Line(ok(data(9), _ETAG + _DATE % 1), b"GET /channels/x HTTP"),
                Line(b"", b"If-None-Match: 0\r\nIf-Modified-Since: Mon, 23 Nov 2026 06:00:01 GMT\r\n"),
            ],
            [
                Line(ok(data(9), _DATE % 2 + _ETAG), b"If-Modified-Since: Mon, 23 Nov 2026 06:00:01 GMT\r\n"),
                Line(ok(data(9), _ETAG + _DATE % 3), b"If-Modified-Since: Mon, 23 Nov 2026 06:00:02 GMT\r\n"),
            ],
        ],
        {"messages": 3},
        each=2,
        resume="etag",
    ),
    "polls, by cursor": Script(
        POLLING,
        lambda: [[Line(ok(answer(1, 4)))], [Line(ok(answer(2, 6)), b"?after=e-4 ")]],
        {"messages": 3},
        each=2,
        rearm=30.0,
    ),
    "SockJS, anew": Script(
        WEBSOCKET,
        lambda: [
            [Line(UPGRADED + frame(b"o") + frame(array(message(9))))],
            [Line(UPGRADED + frame(b"o") + frame(array(message(9), message(300))))],
        ],
        {"messages": 3},
        each=2,
        dialect="sockjs",
        resume="none",
    ),
    "Faye, anew": Script(
        WEBSOCKET,
        lambda: [
            [*_bayeux("c-1"), Line(frame(b"[%b]" % told(9)))],
            [*_bayeux("c-2"), Line(frame(b"[%b]" % told(9)))],
        ],
        {"messages": 2},
        each=1,
        dialect="faye",
        hello="/news",
        resume="none",
    ),
    "Socket.IO, recovered": Script(
        WEBSOCKET,
        lambda: [
            [
                Line(UPGRADED + frame(_OPEN % 1)),
                Line(frame(_CONNECTED) + frame(packet(9, b"o-1")) + frame(packet(9, b"o-2")), b"40"),
            ],
            [
                Line(UPGRADED + frame(_OPEN % 2)),
                Line(frame(_CONNECTED) + frame(packet(9, b"o-3")), _RECOVERED),
            ],
        ],
        {"messages": 3},
        each=1,
        dialect="engineio",
        prefix='42["message",',
    ),
    "Socket.IO by long-polling, recovered": Script(
        LONG_POLLING,
        lambda: [
            [
                Line(ok(_OPEN % 1), b"transport=polling HTTP"),
                Line(ok(b"ok"), b"\r\n\r\n40"),
                Line(ok(_CONNECTED + b"\x1e" + packet(9, b"o-2")), b"&sid=s-1 HTTP"),
                Line(b"", b"&sid=s-1 HTTP"),
            ],
            [
                Line(ok(_OPEN % 2), b"transport=polling HTTP"),
                Line(ok(b"ok"), _RECOVERED),
                Line(ok(_CONNECTED + b"\x1e" + packet(9, b"o-3")), b"&sid=s-2 HTTP"),
            ],
        ],
        {"messages": 2},
        each=1,
        dialect="engineio",
        prefix='42["message",',
    ),
}
