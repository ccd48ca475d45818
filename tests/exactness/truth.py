"""The undisturbed subscriber: a WebSocket on all channels, in a thread of its own.

Owns: the log as it was, in its order. Does not own: judging it (checker.py).
Invariant: nothing of ours stands between it and the server, and it reads at once: what it lacks, the
server left out, unless a burst was longer than the window. When its server ends it comes back, with its
cursor, until it is told to stop.
"""

import contextlib
import json
import socket
import threading
import time
from typing import Any

from exactness.book import Book, Cursor, cursor_of
from raw import CLOSE, HANDSHAKE, PING, PONG, TEXT, frame, head_of


class Truth:
    """Listens at one port until it is stopped. `begun` counts its connections."""

    def __init__(self, book: Book, port: int, channels: tuple[str, ...]) -> None:
        self.begun = 0
        self._book = book
        self._port = port
        self._target = f"/channels/{','.join(channels)}"
        self._cursor: Cursor | None = None
        self._fresh = True
        self._stopped = False
        self._changed = threading.Condition()
        self._sock: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # --- what a run asks ------------------------------------------------------------------------------

    def wait_begun(self, count: int, seconds: float = 30.0) -> None:
        """Wait until it has begun to listen so many times."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.begun >= count, seconds):
                self._book.broken.append(f"the undisturbed subscriber did not get in within {seconds:g} s")

    def reach(self, goal: Cursor, seconds: float) -> bool:
        """Wait until it has heard up to `goal`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._has(goal), seconds)

    def _has(self, goal: Cursor) -> bool:
        here = self._cursor
        return here is not None and here.epoch == goal.epoch and here.position >= goal.position

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return str(self._cursor)

    def stop(self) -> None:
        """Hang up."""
        self._stopped = True
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    # --- its thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped:
            with contextlib.suppress(OSError, EOFError):
                self._listen()
            time.sleep(0.01)

    def _listen(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as sock:
            self._sock = sock
            sock.settimeout(90)  # a frozen server is no reason to go
            with sock.makefile("rb") as file:
                after = "earliest" if self._cursor is None else str(self._cursor)
                sock.sendall(head_of("GET", f"{self._target}?after={after}", HANDSHAKE))
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    if not (line := file.readline()):
                        raise EOFError
                    head += line
                if not head.startswith(b"HTTP/1.1 101"):
                    raise EOFError  # it is refused while the server cannot hear its log
                while not self._stopped:
                    opcode, payload = _frame(file)
                    if opcode == PING:
                        sock.sendall(frame(PONG, payload))
                    elif opcode == CLOSE:
                        return
                    elif opcode == TEXT:
                        with self._changed:
                            self._told(payload)
                            self._changed.notify_all()

    def _told(self, payload: bytes) -> None:
        if payload.startswith(b'{"message":'):
            self._heard(payload[11:-1])
            return
        said: dict[str, Any] = json.loads(payload)
        if "ready" in said:
            self.begun += 1
            self._fresh = True
            if self._cursor is None:
                self._begin(cursor_of(said["ready"]["cursor"]))
        elif "gap" in said:
            gap = said["gap"]
            resumed = cursor_of(gap["resumed"])
            if gap["reason"] == "retention" and self._cursor is not None:
                # Between two of its connections a burst went by. On one connection a burst that is longer
                # than the window may, where the machine lets it read too late; the checker counts.
                after = max(cursor_of(gap["after"]).position, 0)
                self._book.unheard.append((resumed.epoch, gap["channel"], after, resumed.position))
                if not self._fresh:
                    self._book.pushed_out.append((gap, int(time.time() * 1000)))
            elif gap["reason"] == "epoch":
                # What a burst pushed out of the new life before it came.
                self._book.unheard.append((resumed.epoch, gap["channel"], 0, resumed.position))
                if self._cursor is None or self._cursor.epoch != resumed.epoch:
                    self._begin(resumed)
                else:
                    self._cursor = min(self._cursor, resumed)
            else:
                self._book.broken.append(f"the undisturbed subscriber, which reads at once, was told {gap}")

    def _begin(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._book.epochs.append(cursor.epoch)
        self._book.truth.setdefault(cursor.epoch, [])

    def _heard(self, text: bytes) -> None:
        identity, _ = self._book.saw(text, "the undisturbed subscriber")
        cursor, here = cursor_of(identity), self._cursor
        if here is None or cursor.epoch != here.epoch or cursor.position <= here.position:
            self._book.broken.append(f"the undisturbed subscriber stood at {here} and was sent {identity}")
        self._cursor = cursor
        self._fresh = False
        self._book.truth[cursor.epoch].append(cursor.position)


def _frame(file: Any) -> tuple[int, bytes]:
    first, second = _exactly(file, 2)
    size = second
    if size == 126:
        size = int.from_bytes(_exactly(file, 2), "big")
    elif size == 127:
        size = int.from_bytes(_exactly(file, 8), "big")
    return first & 0x0F, _exactly(file, size)


def _exactly(file: Any, size: int) -> bytes:
    data: bytes = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
