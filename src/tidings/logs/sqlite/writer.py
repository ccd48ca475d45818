"""The thread that owns the file: group commit, dropping, reading in between, failure and recovery.

Owns: the file and what is kept of it, from `run` to its end. Does not own: who waits for what (log.py),
what reaches the event loop by `tell` alone, one call for each commit.
Invariant: `tell` says what was committed, in the order of commits, and never what was not.
"""

import logging
import sqlite3
import threading
import time
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.message import Cursor, Hole, Life, Message, Receipt
from tidings.logs.sqlite.dropping import drop
from tidings.logs.sqlite.file import MOST_ROWS, MOVED, File
from tidings.logs.sqlite.follower import Follower
from tidings.logs.sqlite.kept import Kept
from tidings.logs.sqlite.seam import Append, Settings, Told, why

Job = Callable[[], None]

_log = logging.getLogger("tidings.log")


@dataclass(slots=True)
class _Hold:
    """A follower that reads the file: nothing behind `after` is dropped before it.

    As long as it keeps on reading, and what is kept weighs no more than `most`.
    """

    after: int
    until: float
    most: int
    missed: bool = False


class Writer:
    """The thread. Lists in `inbox` are appends, anything else is a job to run there."""

    def __init__(self, settings: Settings, told: Told, tell: Callable[..., None]) -> None:
        self.inbox: SimpleQueue[list[Append] | Job] = SimpleQueue()
        self.commits = 0
        self._settings = settings
        self._told = told
        self._tell = tell
        self._file: File | None = None
        self._kept = Kept(settings.retention)
        self._waiting: deque[Append] = deque()
        self._holds: dict[Follower, _Hold] = {}
        self._parked: list[Job] = []  # for when the file can be read again
        self._epoch = ""
        self._told_through = 0
        self._reason: str | None = None  # why nothing can be written
        self._next_try = 0.0
        self._next_look = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tidings-log", daemon=True)

    def start(self) -> None:
        """Start the thread: it opens the file, and tells of it."""
        self._thread.start()

    def close(self) -> None:
        """A job: end, when everything that waits has been answered."""
        self._closing = True

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._file = File.open(self._settings.path)
            self._file.begin(self._settings.durability)
            self._kept = self._file.load(self._settings.retention)
        except Exception as error:
            if self._file is not None:
                self._file.let_go()
            self._tell(self._told.opened, "", 0, error)
            return
        self._epoch = self._file.epoch
        self._told_through = self._kept.head
        self._tell(self._told.opened, self._epoch, self._told_through, None)
        more = False
        while not (self._closing and not self._waiting):
            self._receive(0.0 if self._waiting or more else limits.LOG_RETRY)
            more = self._step()
        self._end()

    def _receive(self, timeout: float) -> None:
        """Take everything that waits; jobs are done at once."""
        try:
            item = self.inbox.get(timeout > 0, timeout)
            while True:
                if isinstance(item, list):
                    self._waiting.extend(item)
                else:
                    self._do(item)
                item = self.inbox.get_nowait()
        except Empty:
            return

    def _do(self, job: Job) -> None:
        try:
            job()
        except Exception as error:
            self._fail(error, [])

    def _step(self) -> bool:
        """Do what is next; return whether there is more at once. A failure ends in waiting for recovery."""
        try:
            if self._reason is not None:
                if self._waiting:
                    self._tell(self._told.refused, self._take_all(), self._reason)
                if time.monotonic() >= self._next_try and not self._closing:
                    self._recover()
                return False
            self._look()
            if self._waiting:
                self._commit(self._group())
                return True
            return not self._closing and self._tidy()
        except Exception as error:
            self._fail(error, [])
            return False

    # --- appends ----------------------------------------------------------------------------------

    def _group(self) -> list[Append]:
        """Return what goes into one commit: everything that waits, within bounds."""
        group: list[Append] = []
        messages = data_bytes = 0
        while self._waiting and messages < limits.LOG_GROUP and data_bytes < limits.LOG_GROUP_BYTES:
            append = self._waiting.popleft()
            group.append(append)
            messages += len(append[0])
            for draft in append[0]:
                data_bytes += len(draft.data)
        return group

    def _take_all(self) -> list[Append]:
        appends = list(self._waiting)
        self._waiting.clear()
        return appends

    def _commit(self, group: list[Append]) -> None:
        try:
            answers, messages = self._write(group)
        except Exception as error:
            self._fail(error, group)
            return
        self._tell(self._told.committed, answers, messages)

    def _write(
        self, group: list[Append]
    ) -> tuple[list[tuple["Future[list[Receipt]]", list[Receipt]]], list[Message]]:
        assert self._file is not None
        kept, settings = self._kept, self._settings
        # A clock that is set back does not take the order of times with it.
        kept.time_ms = now_ms = max(kept.time_ms, int(settings.clock() * 1000))
        too_old_ms = now_ms - int(settings.idempotency_age * 1000)
        epoch, durability = self._file.epoch, settings.durability
        messages: list[Message] = []
        keys: list[tuple[int, str, str, int]] = []
        marks: dict[str, int] = {}
        answers = []
        for drafts, future in group:
            receipts = []
            for draft in drafts:
                channel, key = draft.channel, draft.idempotency_key
                if key is not None:
                    seen = kept.position_of(channel, key, too_old_ms)
                    if seen is not None:
                        receipts.append(Receipt(Cursor(epoch, seen), durability, duplicate=True))
                        continue
                kept.head = position = kept.head + 1
                if key is not None:
                    kept.remember(channel, key, now_ms, position)
                    keys.append((position, channel, key, now_ms))
                message = Message(epoch, position, channel, now_ms, draft.data, draft.event, draft.key)
                if mark := kept.add(message):
                    marks[channel] = mark
                messages.append(message)
                receipts.append(Receipt(Cursor(epoch, position), durability))
            answers.append((future, receipts))
        if messages:
            self._keep(messages, keys, marks, now_ms, too_old_ms)
            self._told_through = kept.head
        return answers, messages

    def _keep(
        self,
        messages: list[Message],
        keys: list[tuple[int, str, str, int]],
        marks: dict[str, int],
        now_ms: int,
        too_old_ms: int,
    ) -> None:
        """Write and commit. Dropping goes along, so that it costs no sync of its own."""
        assert self._file is not None
        file, kept = self._file, self._kept
        old_keys = kept.forget_keys(
            too_old_ms, self._settings.idempotency_keys, 2 * len(messages) + limits.LOG_DROP_STEP
        )
        due = kept.is_due(now_ms)
        single = not (keys or marks or old_keys or due) and len(messages) <= MOST_ROWS
        self.commits += 1
        with file.transaction(single=single):
            file.insert(messages)
            if keys:
                file.remember(keys)
            if marks:
                file.mark(marks)
            if old_keys:
                file.forget_keys(old_keys)
            if due:
                self._drop(now_ms, len(messages), sum(len(m.data) for m in messages))

    # --- what is due besides ----------------------------------------------------------------------

    def _drop(self, now_ms: int, appended: int = 0, data_bytes: int = 0) -> bool:
        """Drop a step's worth, within a transaction; return whether anything went."""
        assert self._file is not None
        now = time.monotonic()
        holds = [h.after for h in self._holds.values() if h.until > now and h.most >= self._kept.weight]
        ceiling = min(holds, default=self._kept.head)
        through = drop(self._file, self._kept, now_ms, appended, data_bytes, ceiling)
        for hold in self._holds.values():
            hold.missed = hold.missed or hold.after < through
        return through > 0

    def _look(self) -> None:
        """See to it, about once a second, that what is acknowledged goes where the path leads."""
        assert self._file is not None
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + limits.LOG_RETRY
            self._file.check_place()
        if self._file.written > limits.LOG_CHECKPOINT_BYTES_MOST:
            self._file.checkpoint()

    def _tidy(self) -> bool:
        """Use an idle moment; return whether there is more to do at once."""
        assert self._file is not None
        now_ms = max(self._kept.time_ms, int(self._settings.clock() * 1000))
        if self._kept.is_due(now_ms):
            with self._file.transaction():
                dropped = self._drop(now_ms)
            if dropped:
                return True
        if self._file.written > limits.LOG_CHECKPOINT_BYTES:
            self._file.checkpoint()
        return False

    # --- jobs -------------------------------------------------------------------------------------

    def read(self, channels: Sequence[str], after: int, limit: int, future: "Future[list[Message]]") -> None:
        """A job: read kept messages. Goes on while nothing can be written, as long as the file is open."""
        if self._file is None:
            self._tell(self._told.failed, future, self._reason)
            return
        try:
            messages = self._file.read(self._kept.find(channels, after, limit))
        except sqlite3.Error as error:
            self._tell(self._told.failed, future, why(error))
            raise
        self._tell(self._told.answered, future, messages)

    def feed(self, follower: Follower, lives: int, position: int, *, fresh: bool) -> None:
        """A job: read on for `follower`, which has everything up to `position`."""
        if self._reason is not None or self._file is None:
            self._parked.append(partial(self.feed, follower, lives, position, fresh=fresh))
            return
        kept = self._kept
        told: list[Life | Hole] = []
        if fresh:
            # What it says is lost need not be missed: from here on nothing unread is dropped unseen.
            told.append(Life(self._file.epoch, *kept.lost()))
            missed = False
        elif follower in self._holds:
            missed = self._holds[follower].missed
        else:
            # It was live, and took nothing for too long.
            missed = kept.dropped_through > position
        if missed:
            # Through all that was ever dropped: a follower may forget single marks at a hole.
            position = max(position, kept.dropped_through)
            told.append(Hole(position))
        messages, through = self._file.after(position)
        if through is None:
            self._holds.pop(follower, None)
        else:
            hold = self._holds.get(follower)
            most = kept.weight + kept.retention.bytes if hold is None else hold.most
            until = time.monotonic() + limits.LOG_FOLLOW_PATIENCE
            self._holds[follower] = _Hold(through, until, most)
        at = kept.head if through is None else through
        self._tell(partial(follower.read, lives, told, messages, at, live=through is None))

    def release(self, follower: Follower) -> None:
        """A job: `follower` reads no more."""
        self._holds.pop(follower, None)

    # --- failure ----------------------------------------------------------------------------------

    def _fail(self, error: Exception, group: list[Append]) -> None:
        """Refuse everything until the file has been taken up again: after this nothing is acknowledged."""
        reason = why(error)
        if reason != self._reason:
            if isinstance(error, sqlite3.Error | OSError | SettingsError):
                _log.error("the log cannot be written: %s (%s)", reason, error)
            else:
                _log.error("the log failed", exc_info=error)
        self._reason = reason
        self._next_try = time.monotonic() + limits.LOG_RETRY
        self._tell(self._told.refused, group + self._take_all(), reason)

    def _recover(self) -> None:
        """Take the file up again, so that all that was committed is on the disk; or try again later.

        What a failed commit wrote may be in it or not; the file decides, and all that it holds is told.
        """
        settings = self._settings
        try:
            if self._file is not None:
                self._file.check_place()
                self._file.abandon()
                self._file = None
            self._file = file = File.open(settings.path)
            before = self._epoch
            file.begin(settings.durability)
            kept = file.load(settings.retention)
            if kept.head < self._told_through:
                file.begin_life()
            untold: list[Message] = []
            through: int | None = self._told_through
            while through is not None:
                messages, through = file.after(through)
                untold += messages
        except (sqlite3.Error, OSError, SettingsError) as error:
            self._fail(error, [])
            return
        kept.dropped_through = max(kept.dropped_through, self._kept.dropped_through)
        self._kept, self._told_through, self._epoch, self._reason = kept, kept.head, file.epoch, None
        if file.epoch != before:
            self._holds.clear()
        _log.warning("the log is written again")
        self._tell(self._told.recovered, file.epoch, kept.head, untold)
        parked, self._parked = self._parked, []
        for job in parked:
            self._do(job)

    def _end(self) -> None:
        try:
            if self._file is None:
                pass
            elif self._reason in (None, MOVED):
                self._file.close()
            else:
                # No clean mark: whether the disk has everything is not known.
                self._file.abandon()
        except (sqlite3.Error, OSError) as error:
            # What was acknowledged is in the file or its WAL; the next opening goes on from there.
            _log.error("the log could not be closed: %s", why(error))
        self._tell(self._told.ended)
