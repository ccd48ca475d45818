"""Does the yardstick measure? The generator, the publisher and the C loop against servers that misbehave.

Owns: servers that send known bytes cut anywhere, refuse, and break off, and what must be counted of it; and a
reader that stops, in front of the C loop. Does not own: any figure. Ends with 0 where all counts are right.

usage: python bench/check.py
"""

import argparse
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import load, processes, servers
from harness.load import Report
from harness.servers import LONG_POLLING, SSE, WEBSOCKET, Server, running

_BIG = 60_000
_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


def _frame(payload: bytes, first: int = 0x81) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def _message(size: int) -> bytes:
    return b'{"message":{"due":"%019d","pad":"%b"}}' % (time.monotonic_ns(), b"x" * size)


def _event(size: int, end: bytes = b"\n") -> bytes:
    return b"id: 1" + end + b"data: " + _message(size) + end + end


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _answer(messages: int) -> bytes:
    body = b'{"messages":[%b],"cursor":"e-%d"}' % (b",".join(_message(9) for _ in range(messages)), messages)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@dataclass(frozen=True)
class Mischief:
    """What a server says, one piece for each request, and what must be counted of it."""

    transport: str
    pieces: Callable[[], Sequence[bytes]]
    messages: int = 0
    others: int = 0
    empties: int = 0
    error: str = ""
    slices: Sequence[int] = (1, 7, 100_000)
    reset: bool = False


_FRAMES = (
    _frame(b'{"ready":{}}'),
    _frame(_message(5)),
    _frame(_message(300)),
    _frame(b"are you there", 0x89),
    _frame(_message(70_000)),
    _frame(_message(200)[:30], 0x01),
    _frame(b"x" * 5, 0x80),
)
_EVENTS = (
    b"retry: 1000\n\n",
    b"id: 0\nevent: ready\ndata: {}\n\n",
    b":\n\n",
    _event(5),
    _event(3000),
    _event(40, b"\r\n"),
    b"event: price\ndata: {}\n\n",
)

CASES = {
    "frames": Mischief(WEBSOCKET, lambda: [_UPGRADED + b"".join(_FRAMES)], messages=4, others=2),
    "events": Mischief(SSE, lambda: [_STREAM + b"".join(_EVENTS)], messages=4, others=3),
    "chunked events": Mischief(SSE, lambda: [_CHUNKED + b"".join(map(_chunk, _EVENTS))], messages=4),
    "answers": Mischief(LONG_POLLING, lambda: [_answer(1), _answer(0), _answer(3)], messages=4, empties=1),
    "refused": Mischief(WEBSOCKET, lambda: [_BUSY], error="answer 503, not 101"),
    "refused poll": Mischief(LONG_POLLING, lambda: [_BUSY], error="answer 503 to a poll"),
    "closed": Mischief(
        WEBSOCKET,
        lambda: [_UPGRADED + _frame(_message(5)) + _frame(b"\x0f\xa0", 0x88)],
        messages=1,
        error="server closed the WebSocket with code 4000",
    ),
    "broken off": Mischief(
        SSE,
        lambda: [_STREAM + _event(5) + b"data: half"],
        messages=1,
        error="closed by the server in the middle",
    ),
    "reset": Mischief(
        WEBSOCKET,
        lambda: [_UPGRADED + _frame(_message(5))],
        messages=1,
        error="read: Connection reset",
        reset=True,
    ),
}


def serve(case: Mischief, port: int, slice_size: int) -> None:
    """Say the case's pieces to everyone who asks, cut into slices, until killed."""

    def talk(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer, suppress(OSError):
            for piece in case.pieces():
                if not peer.recv(65536):
                    return
                for at in range(0, len(piece), slice_size):
                    peer.sendall(piece[at : at + slice_size])
            if case.reset:
                time.sleep(0.2)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if not case.error:
                time.sleep(60)  # and nothing more

    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()


def _server(name: str, case: Mischief, slice_size: int) -> Server:
    arguments = ("--serve", name, "--slice", str(slice_size), "--port")
    return Server(
        name, lambda port: (sys.executable, __file__, *arguments, str(port)), {case.transport: "/channels/x"}
    )


def _got(name: str, case: Mischief, slice_size: int) -> Report:
    with (
        running(_server(name, case, slice_size)) as here,
        load.subscribers(here, case.transport, samples=2) as subscribers,
    ):
        with suppress(RuntimeError):  # "refused" fails here, and the report says how
            subscribers.connect(3)
        subscribers.wait_for(3 * case.messages, 10)
        time.sleep(0.4)  # for what should not come, and for the error
        return subscribers.report()


def check_counts(name: str, slice_size: int) -> str:
    """Return what was counted wrong with three connections to one misbehaving server, or ""."""
    case = CASES[name]
    report = _got(name, case, slice_size)
    expected = {"messages": 3 * case.messages, "empties": 3 * case.empties, "errors": 3 if case.error else 0}
    if case.others:
        expected["others"] = 3 * case.others
    wrong = [f"{k} {getattr(report, k)}, not {v}" for k, v in expected.items() if getattr(report, k) != v]
    if not report.error.startswith(case.error) or (not case.error and report.error):
        wrong.append(f"error {report.error!r}")
    return ", ".join(wrong)


def check_publisher(answer: bytes, *, answered: int, error: str) -> str:
    """Return what a publisher got wrong whose first publish is answered so, its second by a close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with listener.accept()[0] as peer:
                peer.recv(65536)
                peer.sendall(answer)
                peer.recv(65536)

        threading.Thread(target=talk, daemon=True).start()
        server = Server("publisher", lambda _: (), {})
        with processes.stopping(processes.start_server(("sleep", "60"), {}, Path(os.devnull))) as process:
            here = servers.Running(server, process, listener.getsockname()[1])
            done = load.publish(here, rate=20, seconds=0.1)
    wrong = [] if done.answered == answered else [f"answered {done.answered}, not {answered}"]
    if error not in done.error or not done.errors:
        wrong.append(f"{done.errors} errors, {done.error!r}")
    return ", ".join(wrong)


def check_stalled(transport: str, join: int) -> str:
    """Return what the C loop lost when its readers stop for a while in front of 12 MB each, or ""."""
    floor = servers.c_loop(join, epoch="e")
    with running(floor) as here, load.subscribers(here, transport) as subscribers:
        subscribers.connect(20)
        subscribers.mark()
        subscribers.signal(signal.SIGSTOP)
        # Every reader's kernel buffers are smaller than this: short sends must happen.
        published = load.publish(here, rate=400, seconds=0.5, size=_BIG)
        subscribers.signal(signal.SIGCONT)
        expected = published.published * 20
        report = subscribers.wait_for(expected, 10)
        time.sleep(0.1)
        after = subscribers.report()
    if after.messages != expected or after.errors or published.errors:
        return f"{after.messages:,} of {expected:,}, {report.error or published.error}"
    if after.samples != expected:
        return f"{after.samples:,} delays of {expected:,}"
    return ""


def main() -> int:
    """Run all checks, or be one of the servers."""
    parser = argparse.ArgumentParser(description="Checks that the benches count right.")
    parser.add_argument("--serve", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--slice", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(CASES[options.serve], options.port, options.slice)
    processes.prepare()
    wrong = 0

    def tell(what: str, found: str) -> None:
        nonlocal wrong
        wrong += bool(found)
        print(f"{'WRONG' if found else 'right'}  {what}{': ' if found else ''}{found}")

    for name, case in CASES.items():
        for slice_size in case.slices:
            tell(f"{name}, {slice_size:,} bytes at a time", check_counts(name, slice_size))
    tell("a publish refused", check_publisher(_BUSY, answered=0, error="answer 503 to a publish"))
    tell("a publisher cut off", check_publisher(_CREATED, answered=1, error="closed a publishing connection"))
    for transport in (WEBSOCKET, SSE):
        for join in (1, 8):
            tell(f"readers stop, {transport}, joined by {join}", check_stalled(transport, join))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
