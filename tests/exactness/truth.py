"""The undisturbed subscriber: one WebSocket on all channels for each life of the server, in a thread of
its own.

Owns: the log as it was, in its order. Does not own: judging it (checker.py).
Invariant: nothing of ours stands between it and the server, and it reads at once: what it lacks, the
server left out.
"""

import json
import socket
import threading
import time

from exactness.book import Book, cursor_of
from raw import CLOSE, HANDSHAKE, PING, PONG, TEXT, frame, head_of


class Truth:
    """Listens until its life of the server ends. `epoch` is known once it has begun."""

    def __init__(self, book: Book, port: int, channels: tuple[str, ...], name: str) -> None:
        self.epoch = ""
        self.last = 0
        self.done = threading.Event()
        self._book = book
        self._name = name
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._sock.settimeout(90)  # a frozen server is no reason to go
        self._file = self._sock.makefile("rb")
        target = f"/channels/{','.join(channels)}?after=earliest"
        self._sock.sendall(head_of("GET", target, HANDSHAKE))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._file.readline()
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the truth was refused: {head!r}")
        ready = json.loads(self._frame()[1])["ready"]
        self.epoch = cursor_of(ready["cursor"]).epoch
        book.truth[self.epoch] = []
        book.epochs.append(self.epoch)
        threading.Thread(target=self._listen, daemon=True).start()

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        size = second
        if size == 126:
            size = int.from_bytes(self._exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(self._exactly(8), "big")
        return first & 0x0F, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _listen(self) -> None:
        positions = self._book.truth[self.epoch]
        try:
            while True:
                opcode, payload = self._frame()
                if opcode == PING:
                    self._sock.sendall(frame(PONG, payload))
                elif opcode == CLOSE:
                    return
                elif opcode == TEXT and payload.startswith(b'{"message":'):
                    identity, _ = self._book.saw(payload[11:-1], self._name)
                    epoch, position = cursor_of(identity)
                    if epoch != self.epoch or position <= self.last:
                        self._book.broken.append(f"{self._name} stood at {self.last} and was sent {identity}")
                    self.last = position
                    positions.append(position)
                elif payload.startswith(b'{"gap":'):
                    self._book.broken.append(f"{self._name}, which reads at once, was told {payload!r}")
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.done.set()
            self._file.close()
            self._sock.close()

    def stop(self) -> None:
        """Hang up."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        self.done.wait(10)

    def reach(self, position: int, seconds: float) -> bool:
        """Wait until it has heard up to `position`."""
        deadline = time.monotonic() + seconds
        while self.last < position and not self.done.is_set() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.last >= position
