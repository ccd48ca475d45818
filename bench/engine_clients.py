"""The least that anybody pays for an engine: bare clients of Redis, JetStream and SQLite.

Each does what a node does with a message, with the same bytes: it appends the record, waits until it is
acknowledged, and reads it back by following. None looks for keys, numbers or trims.

Owns: the words for each engine. Does not own: when something is sent (engine_load.py).
Invariant: what is counted as answered was acknowledged, each by itself, or in its transaction.
"""

import json
import socket
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import hiredis

from tidings.core import limits
from tidings.logs.sqlite.schema import SCHEMA

_READ = 1 << 18
_COUNT = 100  # messages of one answer, as our own follower asks for


class Client(Protocol):
    """What the load meets: append, and read what has come on a socket."""

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What to wait for."""

    def append(self, count: int) -> None:
        """Send so many records at once."""

    def take(self, ready: socket.socket) -> tuple[int, int]:
        """Return how many appends were answered, and how many records came back, in what there is to read."""


def _connect(url: str) -> socket.socket:
    place = urlsplit(url)
    made = socket.create_connection((place.hostname or "", place.port or 0), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _read(ready: socket.socket) -> bytes:
    data = ready.recv(_READ)
    if not data:
        raise ConnectionError("the engine has hung up")
    return data


class Redis:
    """XADD on one connection, XREAD on the other."""

    def __init__(self, url: str, record: bytes) -> None:
        self._appends, self._follows = self.sockets = (_connect(url), _connect(url))
        self._readers = {one: hiredis.Reader() for one in self.sockets}
        # As long as what our script keeps beside the record.
        self._command = _packed("XADD", "bench", "*", "x", "1700000000000 100000000 1234567890123456789",
                                "d", record)  # fmt: skip
        self._last = b"0-0"
        self._ask()

    def _ask(self) -> None:
        self._follows.sendall(
            _packed("XREAD", "COUNT", _COUNT, "BLOCK", 10_000, "STREAMS", "bench", self._last)
        )

    def append(self, count: int) -> None:
        """See Client."""
        self._appends.sendall(self._command * count)

    def take(self, ready: socket.socket) -> tuple[int, int]:
        """See Client."""
        reader = self._readers[ready]
        reader.feed(_read(ready))
        answered = arrived = 0
        while (told := reader.gets()) is not False:
            if isinstance(told, hiredis.ReplyError):
                raise told
            if ready is self._appends:
                answered += 1
                continue
            if told is not None:
                entries = told[0][1]
                arrived += len(entries)
                self._last = entries[-1][0]
            self._ask()
        return answered, arrived


def _packed(*command: str | int | bytes) -> bytes:
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub knows one argument


class Nats:
    """Publishing with replies, and a push consumer without acknowledgements, on one connection."""

    def __init__(self, url: str, record: bytes) -> None:
        self._socket = _connect(url)
        self.sockets = (self._socket,)
        self._buffer = b""
        self._sent = 0
        self._record = b" %d\r\n%b\r\n" % (len(record), record)
        self._socket.sendall(
            b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answers.> 1\r\nSUB followed 2\r\n'
        )
        life = {
            "name": "bench",
            "subjects": ["bench.log.life.>"],
            "retention": "limits",
            "storage": "file",
            "max_msgs_per_subject": limits.HISTORY_COUNT,
            "max_age": int(limits.IDEMPOTENCY_AGE * 1e9),
            "duplicate_window": int(limits.IDEMPOTENCY_AGE * 1e9),
        }
        self._api("STREAM.CREATE.bench", life)
        consumer = {"deliver_subject": "followed", "deliver_policy": "all", "ack_policy": "none"}
        self._api("CONSUMER.CREATE.bench", {"stream_name": "bench", "config": consumer})

    def _api(self, what: str, question: dict[str, Any]) -> None:
        body = json.dumps(question).encode()
        self._socket.sendall(b"PUB $JS.API.%b answers.api %d\r\n%b\r\n" % (what.encode(), len(body), body))
        while not any(self.take(self._socket)):
            pass

    def append(self, count: int) -> None:
        """See Client."""
        out = []
        for number in range(self._sent, self._sent + count):
            out.append(b"PUB bench.log.life.bench%d answers.%d" % (number % 100, number))
            out.append(self._record)
        self._sent += count
        self._socket.sendall(b"".join(out))

    def take(self, ready: socket.socket) -> tuple[int, int]:
        """See Client."""
        data = self._buffer + _read(ready)
        answered = arrived = start = 0
        while (end := data.find(b"\r\n", start)) >= 0:
            words = data[start:end].split()
            if words[0] == b"MSG":
                after = end + 2 + int(words[-1]) + 2
                if len(data) < after:
                    break
                if words[2] == b"2":
                    arrived += 1
                elif b'"error"' in data[end:after]:
                    raise RuntimeError(data[end + 2 : after].decode())
                else:
                    answered += 1
                start = after
                continue
            if words[0] == b"PING":
                ready.sendall(b"PONG\r\n")
            elif words[0] == b"-ERR":
                raise RuntimeError(data[start:end].decode())
            start = end + 2
        self._buffer = data[start:]
        return answered, arrived


class Sqlite:
    """One INSERT of so many rows for each commit, with the settings of our own file."""

    def __init__(self, url: str, record: bytes) -> None:
        path, _, query = url.removeprefix("sqlite:///").partition("?")
        Path(path).touch()
        self._base = sqlite3.connect(path, isolation_level=None)
        synced = query != "durability=stored"
        for line in (
            "PRAGMA locking_mode = EXCLUSIVE",
            "PRAGMA journal_mode = WAL",
            "PRAGMA wal_autocheckpoint = 0",
            f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}",
            SCHEMA[1],
        ):
            self._base.execute(line)
        self._record = record
        self._position = 0
        self._written = 0

    def append(self, count: int) -> None:
        """Commit so many rows: when this returns they are acknowledged."""
        rows: list[int | str | bytes | None] = []
        for position in range(self._position + 1, self._position + count + 1):
            rows += (position, f"bench{position % 100}", 1_700_000_000_000, self._record, None, None)
        self._base.execute(f"INSERT INTO message VALUES {', '.join(['(?, ?, ?, ?, ?, ?)'] * count)}", rows)
        self._position += count
        self._written += count * (len(self._record) + 64) + 8192
        if self._written > limits.LOG_CHECKPOINT_BYTES_MOST:
            self._base.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._written = 0
