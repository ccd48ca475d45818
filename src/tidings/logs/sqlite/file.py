"""The file: how it is opened, which life it is in, and the statements. Used by one thread (writer.py).

Owns: the connection. Does not own: the format (schema.py), what is dropped when (kept.py), failure
(writer.py).
Invariant: while it is open no other connection can read or write the file, in this process or another.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.core.message import Durability, Message
from tidings.logs.memory import new_epoch
from tidings.logs.sqlite import identity
from tidings.logs.sqlite.kept import Kept, Oldest, weight
from tidings.logs.sqlite.rows import Row, checked
from tidings.logs.sqlite.schema import OLDEST_SQLITE, SCHEMA, create, foreign, lock

MOVED: Final = "the log's file was removed or replaced while the server ran; it has to be started again"
MOST_ROWS: Final = 256  # in one INSERT: 1,536 values, of the 32,766 that SQLite takes


class Moved(OSError):
    """The path leads to another file, or to none."""

    def __str__(self) -> str:
        return MOVED


class File:
    """An open file. Everything may raise sqlite3.Error; then only reading and `abandon` are left.

    Each call of SQLite gives up the interpreter's lock and has to win it back, which takes up to 5 ms
    against a busy event loop. So there are few: many rows go in with one statement, and lists go in and
    come out as one JSON text.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, epoch: str) -> None:
        self.path = path
        self.epoch = epoch
        self.written = 0  # bytes, about, since the last checkpoint
        self._connection = connection
        self._identity = ""
        self._wal = path.with_name(path.name + "-wal")
        self._wal_inode = 0

    # --- open and close ---------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path) -> "File":
        """Open the file for reading, or make it, and lock it. Raises SettingsError with what to do."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise SettingsError(f"SQLite here is {sqlite3.sqlite_version}; a log needs 3.37 or newer.")
        create(path)
        # A server that is just about to stop is waited for.
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        try:
            return cls(path, connection, lock(path, connection))
        except BaseException as error:
            connection.close()
            match getattr(error, "sqlite_errorname", ""):
                case "SQLITE_BUSY":
                    raise SettingsError(
                        f"Another server has {path} open. A log in a file belongs to one server: stop "
                        "the other, or name another file."
                    ) from None
                case "SQLITE_NOTADB":
                    raise SettingsError(foreign(path)) from None
            raise

    def begin(self, durability: Durability) -> None:
        """Make the file ready for writing: all that was committed is synced, and this server has taken over.

        With FULL, whatever `durability` is: what decides about the epoch must not be lost.
        """
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        # SQLite's own checkpoints pass over their failures; ours do not.
        execute("PRAGMA wal_autocheckpoint = 0")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA temp_store = MEMORY")
        execute("PRAGMA cache_size = -16384")
        # What is dropped is wiped where that costs no writing; Debian's default writes each freed page.
        execute("PRAGMA secure_delete = FAST")
        self._empty_wal()
        with self.transaction():
            if not self.epoch:
                for statement in SCHEMA:
                    execute(statement)
            self._take_over(durability)
        self._empty_wal()
        with suppress(FileNotFoundError):
            self._wal_inode = self._wal.stat().st_ino
        if durability is Durability.STORED:
            execute("PRAGMA synchronous = NORMAL")

    def _take_over(self, durability: Durability) -> None:
        """Go on in the life that the file is in, or begin another; messages stay either way."""
        epoch, clean, boot, before, known = self._connection.execute(
            "SELECT epoch, clean, boot, durability, identity FROM life"
        ).fetchone()
        now = identity.boot()
        if not epoch:
            # The file is new: its positions begin anew, whatever was given out before under this path.
            epoch = new_epoch()
        elif known != identity.of(self.path):
            # It was copied or put back. The original may have gone on, and have given out the positions
            # that come next here to other messages.
            epoch = new_epoch()
        elif before != Durability.SYNCED and not clean and (not now or now != boot):
            # `stored`, and the machine went down without a word: the last messages, which were told to
            # subscribers, may never have reached the disk, and their positions will be given out again.
            epoch = new_epoch()
        self.epoch = epoch
        # A kill between this and the commit begins a new epoch for nothing: a gap is told, never a lie.
        self._identity = identity.renew(self.path)
        self._connection.execute(
            "UPDATE life SET epoch = ?, clean = 0, boot = ?, durability = ?, identity = ?",
            (epoch, now, durability.value, self._identity),
        )

    def begin_life(self) -> None:
        """Begin a new life: the file turned out to hold less than was told to subscribers."""
        epoch = new_epoch()
        self._connection.execute("UPDATE life SET epoch = ?", (epoch,))
        self.epoch = epoch

    def check_place(self) -> None:
        """Raise Moved when the path no longer leads to this file: it was removed or replaced under us."""
        try:
            if identity.of(self.path) == self._identity:
                return
        except FileNotFoundError:
            pass
        raise Moved

    def close(self) -> None:
        """Close the file, everything in it synced, and say so in it."""
        # Syncs the WAL, and with it whatever came before: the clean mark is never ahead of the messages.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("UPDATE life SET clean = 1")
        self.checkpoint()
        self._connection.close()
        # SQLite removes the WAL, except where the file was replaced: there it would be taken for the WAL
        # of the new one, and spoil it.
        with suppress(FileNotFoundError):
            if self._wal.stat().st_ino == self._wal_inode:
                self._wal.unlink()

    def let_go(self) -> None:
        """Close the file as it is."""
        self._connection.close()

    def abandon(self) -> None:
        """Close the file after a failure, so that opening it again finds all that was committed.

        After a failed fsync the kernel may have marked pages as clean that never reached the disk: the
        next fsync succeeds and says nothing of them. So the WAL is written again, byte by byte, which
        makes its pages dirty, and synced, before anything is copied out of it into the file. Raises
        OSError when that fails, and the file stays open for reading.
        """
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        _write_again(self._wal)
        # Copies what it can, and tells of no failure; then the WAL stays, and the next opening does it.
        self._connection.close()

    def _empty_wal(self) -> None:
        """Bring everything in the WAL into the file, synced, and empty it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.written = 0

    def checkpoint(self) -> None:
        """Bring everything in the WAL into the file, synced. It is not cut: growing it again costs more."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.written = 0

    # --- writing ----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, single: bool = False) -> Iterator[None]:
        """Commit what is done within, or nothing of it; a `single` statement needs no more words."""
        if single:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a failed COMMIT may have rolled back already
                self._connection.execute("ROLLBACK")
            raise

    def insert(self, messages: Sequence[Message]) -> None:
        """Keep `messages`."""
        rows = [(m.position, m.channel, m.time_ms, m.data, m.event, m.key) for m in messages]
        self.written += sum(len(m.data) for m in messages) + 64 * len(rows) + 8192
        self._insert("message", rows)

    def remember(self, keys: Sequence[tuple[int, str, str, int]]) -> None:
        """Keep idempotency keys: position, channel, key, time in ms."""
        self._insert("idempotency", keys)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), MOST_ROWS):
            part = rows[start : start + MOST_ROWS]
            row = f"({', '.join('?' * len(part[0]))})"
            # ROLLBACK: a position twice cannot happen, and guarding against it would keep a journal of
            # the statement. The statements are kept prepared, by their number of rows.
            text = f"INSERT OR ROLLBACK INTO {table} VALUES {', '.join([row] * len(part))}"  # noqa: S608
            self._connection.execute(text, [value for values in part for value in values])

    def mark(self, marks: dict[str, int]) -> None:
        """Say that messages of these channels are gone, up to these positions."""
        self._connection.execute(
            "INSERT INTO lost SELECT key, value FROM json_each(?) WHERE true"
            " ON CONFLICT (channel) DO UPDATE SET through = excluded.through",
            (_json(marks),),
        )

    def drop(self, positions: Sequence[int]) -> None:
        """Keep the messages at these positions no more."""
        # Each page that a row is taken from is written anew: a quarter of one for messages of 1 kB.
        self.written += 16384 + 1024 * len(positions)
        self._connection.execute(f"DELETE FROM message WHERE {_AMONG}", (_json(positions),))  # noqa: S608

    def forget(self, head: int, forgotten_through: int, channels: Sequence[str]) -> None:
        """Keep the marks of `channels` no more: one mark stands for them. `head` outlives its message."""
        self._connection.execute("UPDATE life SET head = ?, forgotten_through = ?", (head, forgotten_through))
        if channels:
            self._connection.execute(
                "DELETE FROM lost WHERE channel IN (SELECT value FROM json_each(?))", (_json(channels),)
            )

    def forget_keys(self, through: int) -> None:
        """Keep the idempotency keys up to position `through` no more."""
        self._connection.execute("DELETE FROM idempotency WHERE position <= ?", (through,))

    # --- reading ----------------------------------------------------------------------------------

    def load(self, retention: Retention) -> Kept:
        """Return what the file holds."""
        execute = self._connection.execute
        head, forgotten_through = execute("SELECT head, forgotten_through FROM life").fetchone()
        kept = Kept(retention, head, forgotten_through, execute("SELECT * FROM lost ORDER BY through"))
        for channel, position, time_ms in execute(
            "SELECT channel, position, time_ms FROM message ORDER BY position"
        ):
            kept.put(channel, position, time_ms)
            kept.head = max(head, position)
            kept.time_ms = max(kept.time_ms, time_ms)
        kept.weight = weight(
            *execute("SELECT count(*), coalesce(sum(length(data)), 0) FROM message").fetchone()
        )
        for position, channel, key, time_ms in execute("SELECT * FROM idempotency ORDER BY position"):
            kept.remember(channel, key, time_ms, position)
            kept.time_ms = max(kept.time_ms, time_ms)
        return kept

    def read(self, positions: Sequence[int]) -> list[Message]:
        """Return the messages at these positions, in order."""
        rows = self._connection.execute(
            f"SELECT * FROM message WHERE {_AMONG} ORDER BY position",  # noqa: S608
            (_json(positions),),
        )
        return checked(self.epoch, rows)

    def after(self, position: int) -> tuple[list[Message], int | None]:
        """Return messages behind `position`, about an answer's size of them, and how far that is.

        None says: to the end of what is kept.
        """
        rows: list[Row] = []
        room = limits.ANSWER_BYTES
        for row in self._connection.execute(
            "SELECT * FROM message WHERE position > ? ORDER BY position LIMIT ?",
            (position, limits.ANSWER_MESSAGES_MOST + 1),
        ):
            room -= len(row[3])
            if rows and (room < 0 or len(rows) == limits.ANSWER_MESSAGES_MOST):
                return checked(self.epoch, rows), rows[-1][0]
            rows.append(row)
        return checked(self.epoch, rows), None

    def lengths(self, positions: Sequence[int]) -> list[int]:
        """Return the bytes of data of the messages at these positions, in order."""
        text = self._connection.execute(
            f"SELECT json_group_array(length(data)) FROM (SELECT data FROM message WHERE {_AMONG}"  # noqa: S608
            " ORDER BY position)",
            (_json(positions),),
        ).fetchone()[0]
        return msgspec.json.decode(text, type=list[int])

    def oldest(self, count: int, ceiling: int) -> Oldest:
        """Return the oldest `count` messages up to position `ceiling`."""
        text = self._connection.execute(
            "SELECT json_group_array(json_array(position, channel, time_ms, length(data))) FROM"
            " (SELECT * FROM message WHERE position <= ? ORDER BY position LIMIT ?)",
            (ceiling, count),
        ).fetchone()[0]
        return msgspec.json.decode(text, type=list[tuple[int, str, int, int]])

    def oldest_ms(self) -> int | None:
        """Return the time of the oldest message, or None."""
        row = self._connection.execute("SELECT time_ms FROM message ORDER BY position LIMIT 1").fetchone()
        return None if row is None else row[0]


_AMONG: Final = "position IN (SELECT value FROM json_each(?))"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _write_again(path: Path) -> None:
    """Write a file's bytes over themselves, and sync them. No other descriptor's lock is on such a file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        position = 0
        while data := os.pread(descriptor, 1 << 20, position):
            position += os.pwrite(descriptor, data, position)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
