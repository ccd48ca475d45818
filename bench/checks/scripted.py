"""A server that says what a script tells it, cut into slices of any size.

Owns: the listening socket, and a thread for each connection until its client leaves. Does not own: scripts.
Invariant: a connection is told the next line only when it asked as the script expects; one that asks
otherwise is closed, which the generator counts as an error.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
CLIENTS = 3
_RESET_AFTER = 0.2  # so that what was said arrives before


@dataclass(frozen=True)
class Line:
    """What is said after a request, or after a frame of the client. `asked` must stand in that."""

    said: bytes
    asked: bytes = b""


Life = Sequence[Line]


@dataclass(frozen=True)
class Script:
    """What a server says on each connection, and what must be counted of it on each.

    `lives` is made anew for each connection: its first item is said on a client's first connection, the next
    on its second. `expected` is what the reports hold, for one client; what is not in it is not looked at.
    `each` is how many of the messages are the second life's, where there is one.
    """

    transport: str
    lives: Callable[[], Sequence[Life]]
    expected: Mapping[str, int]
    error: str = ""
    slices: Sequence[int] = (1, 7, 100_000)
    reset: bool = False
    dialect: str = "plain"
    resume: str = "cursor"
    hello: str = ""
    prefix: str = '{"message":'
    rearm: float = 0.0
    each: int = 0


@dataclass
class _Asked:
    """What a client says: requests, and frames after an upgrade."""

    peer: socket.socket
    kept: bytearray = field(default_factory=bytearray)
    frames: bool = False

    def next(self) -> bytes:
        """Return the next request or the next frame's payload; raises OSError where the client is gone."""
        while True:
            size = self._frame() if self.frames else self._request()
            if size:
                unit = bytes(self.kept[:size])
                del self.kept[:size]
                return unit
            got = self.peer.recv(65536)
            if not got:
                raise ConnectionResetError
            self.kept += got

    def _request(self) -> int:
        head = self.kept.find(b"\r\n\r\n") + 4
        if head < 4:
            return 0
        at = self.kept.lower().find(b"content-length:", 0, head)
        size = head + (int(self.kept[at + 15 : self.kept.index(b"\r", at)]) if at >= 0 else 0)
        return size if len(self.kept) >= size else 0

    def _frame(self) -> int:
        # The generator's mask is zeros, and its frames are short.
        if len(self.kept) < 4:
            return 0
        size = self.kept[1] & 0x7F
        total = 8 + int.from_bytes(self.kept[2:4], "big") if size == 126 else 6 + size
        return total if len(self.kept) >= total else 0


@contextmanager
def serving(script: Script, slice_size: int) -> Iterator[int]:
    """Serve the script on a free port, and return the port."""
    begun = 0
    lock = threading.Lock()

    def life(asked: _Asked) -> tuple[Life, bytes]:
        nonlocal begun
        first = asked.next()
        with lock:
            number, begun = begun // CLIENTS, begun + 1
        return script.lives()[number], first

    def talk(peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = _Asked(peer)
        with peer, suppress(OSError):
            lines, unit = life(asked)
            for number, line in enumerate(lines):
                if number:
                    unit = asked.next()
                if line.asked not in unit:
                    return
                asked.frames |= line.said.startswith(UPGRADED)
                for at in range(0, len(line.said), slice_size):
                    peer.sendall(line.said[at : at + slice_size])
            if script.reset:
                time.sleep(_RESET_AFTER)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif not script.error:
                while True:  # and nothing more
                    asked.next()

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                peer = listener.accept()[0]
                threading.Thread(target=talk, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
