"""The event loop's side of the log in a file: what waits for an answer, time limits, followers.

Owns: the port (base.py), and futures. Does not own: the file (writer.py's thread has it).
Invariant: an append costs the loop one entry in a list; a turn of the loop is handed over at once, and
what was committed comes back in one call, however many appends that was.
"""

import asyncio
import os
import time
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Durability, Message, Receipt
from tidings.logs.base import Batch, Log, bounded
from tidings.logs.sqlite.follower import Follower
from tidings.logs.sqlite.seam import Append, Settings, why
from tidings.logs.sqlite.writer import Writer

_PREFIX = "sqlite:///"
_SHAPES = "sqlite:///FILE for a file in the working directory, or sqlite:////FOLDER/FILE"


def parse(url: str) -> tuple[Path, Durability]:
    """Return which file `url` names, and how safely it is written. Raises SettingsError with what to do."""
    name, _, query = url.partition("?")
    if not name.startswith(_PREFIX) or name == _PREFIX:
        raise SettingsError(f"{url!r} names no file: write {_SHAPES}.")
    durability = Durability.SYNCED
    for parameter, value in parse_qsl(query, keep_blank_values=True):
        if parameter != "durability":
            raise SettingsError(
                f"A log in a file has no parameter {parameter!r}: there is only durability=synced or =stored."
            )
        if value not in (Durability.SYNCED, Durability.STORED):
            raise SettingsError(
                f"A log in a file is synced (it survives a power cut) or stored (a kill); not {value!r}."
            )
        durability = Durability(value)
    # Absolute: no name is taken by SQLite for a URI or for ":memory:", and changing the working directory
    # moves nothing. Real: the WAL stands beside the file itself, not beside a link to it.
    return Path(os.path.realpath(unquote(name.removeprefix(_PREFIX)))), durability


class _Turn:
    """What one turn of the loop appended: one deadline for all of it."""

    __slots__ = ("appends", "deadline", "unanswered")

    def __init__(self, appends: list[Append], deadline: float) -> None:
        self.appends = appends
        self.deadline = deadline
        self.unanswered = len(appends)


class SqliteLog(Log):
    """A log in one file, of one process. `clock` returns seconds since the Unix epoch."""

    def __init__(
        self,
        url: str,
        retention: Retention | None = None,
        *,
        clock: Callable[[], float] = time.time,
        idempotency_age: float = limits.IDEMPOTENCY_AGE,
        idempotency_keys: int = limits.IDEMPOTENCY_KEYS,
    ) -> None:
        path, durability = parse(url)
        self._settings = Settings(
            path, durability, retention or Retention(), clock, idempotency_age, idempotency_keys
        )
        self._loop: AbstractEventLoop
        self._epoch = ""
        self._head = 0
        self._writer = Writer(self._settings, self, self._tell)
        self._opening: Future[None] | None = None
        self._ending: Future[None] | None = None
        self._closed = False
        self._turn: list[Append] = []
        self._turns: deque[_Turn] = deque()
        self._pending = 0  # messages
        self._timer: TimerHandle | None = None
        self._open = False
        self._failed = False
        self._reason = ""
        self._followers: set[Follower] = set()

    @property
    def epoch(self) -> str:
        """See Log."""
        return self._epoch

    @property
    def head(self) -> int:
        """See Log; here exact, but for what is just being committed."""
        return self._head

    @property
    def refusing(self) -> str:
        """See Log: while the disk fails, or does not answer. Followers miss nothing by that."""
        return self._reason if self._failed else ""

    @property
    def commits(self) -> int:
        """How many transactions were begun to keep messages."""
        return self._writer.commits

    async def open(self) -> None:
        """See Log."""
        self._loop = asyncio.get_running_loop()
        self._opening = self._loop.create_future()
        self._writer.start()
        try:
            async with asyncio.timeout(limits.LOG_OPEN_TIMEOUT):
                await self._opening
        except TimeoutError:
            self._writer.inbox.put(self._writer.close)
            raise SettingsError(
                f"The log {self._settings.path} could not be opened within {limits.LOG_OPEN_TIMEOUT:.0f} s: "
                "look at its disk."
            ) from None
        self._open = True

    # --- appends ----------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log."""
        future: Future[list[Receipt]] = self._loop.create_future()
        if not drafts:
            future.set_result([])
        elif self._closed or self._ending is not None:
            future.set_exception(_refusal("the log is closed"))
        elif self._failed:
            future.set_exception(_refusal(self._reason))
        elif self._pending + len(drafts) > limits.LOG_PENDING:
            future.set_exception(_refusal("too many messages wait for the disk"))
        else:
            self._pending += len(drafts)
            if not self._turn:
                self._loop.call_soon(self._hand_over)
            self._turn.append((drafts, future))
        return future

    def _hand_over(self) -> None:
        """Give the writer what this turn of the loop appended: at its end, so that it is one commit."""
        if not self._turn:
            return
        turn, self._turn = self._turn, []
        deadline = self._loop.time() + limits.LOG_TIMEOUT
        self._turns.append(_Turn(turn, deadline))
        self._writer.inbox.put(turn)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """Refuse what waits for too long. One timer for all: deadlines rise with the turns."""
        self._timer = None
        now = self._loop.time()
        for turn in self._turns:
            if turn.deadline > now:
                self._timer = self._loop.call_at(turn.deadline, self._look)
                return
            self._fail("the disk does not answer")
            for _, future in turn.appends:
                if not future.done():
                    future.set_exception(_refusal(self._reason))

    def _settle(self, appends: int, messages: int) -> None:
        """Count off what the writer has answered, in the order in which it was handed over."""
        self._pending -= messages
        while appends:
            turn = self._turns[0]
            counted = min(appends, turn.unanswered)
            turn.unanswered -= counted
            appends -= counted
            if not turn.unanswered:
                self._turns.popleft()

    def _fail(self, reason: str) -> None:
        self._failed, self._reason = True, reason

    # --- told by the writer, in the loop ------------------------------------------------------------

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        """Have `what` called in the loop. In the writer's thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(what, *args)

    def opened(self, epoch: str, head: int, error: Exception | None) -> None:
        """See Told."""
        assert self._opening is not None
        if self._opening.done():
            return
        if error is None:
            self._epoch, self._head = epoch, head
            self._opening.set_result(None)
        elif isinstance(error, SettingsError):
            self._opening.set_exception(error)
        else:
            self._opening.set_exception(
                SettingsError(
                    f"The log {self._settings.path} cannot be used: {why(error)}. Look at its disk and at "
                    "who may write there, or name another file."
                )
            )

    def committed(
        self, answers: Sequence[tuple["Future[list[Receipt]]", list[Receipt]]], messages: Sequence[Message]
    ) -> None:
        """See Told."""
        self._failed = False
        self._settle(len(answers), sum(len(receipts) for _, receipts in answers))
        if messages:
            self._head = messages[-1].position
            for follower in self._followers:
                follower.put(messages)
        for future, receipts in answers:
            if not future.done():
                future.set_result(receipts)

    def refused(self, appends: Sequence[Append], reason: str) -> None:
        """See Told."""
        self._fail(reason)
        self._settle(len(appends), sum(len(drafts) for drafts, _ in appends))
        for _, future in appends:
            if not future.done():
                future.set_exception(_refusal(reason))

    def recovered(self, epoch: str, head: int, messages: Sequence[Message]) -> None:
        """See Told."""
        self._failed = False
        is_other = epoch != self._epoch
        self._epoch, self._head = epoch, head
        for follower in self._followers:
            if is_other:
                follower.begin()
            elif messages:
                follower.put(messages)

    def answered(self, future: "Future[list[Message]]", messages: list[Message]) -> None:
        """See Told."""
        if not future.done():
            future.set_result(messages)

    def failed(self, future: "Future[list[Message]]", reason: str | None) -> None:
        """See Told."""
        if not future.done():
            future.set_exception(_refusal(reason or "the log is closed"))

    def ended(self) -> None:
        """See Told."""
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(None)

    # --- reading and following ----------------------------------------------------------------------

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """See Log."""
        if self._closed:
            raise _refusal("the log is closed")
        future: Future[list[Message]] = self._loop.create_future()
        self._writer.inbox.put(partial(self._writer.read, tuple(channels), after, limit, future))
        try:
            async with asyncio.timeout(limits.LOG_TIMEOUT):
                return await future
        except TimeoutError:
            raise _refusal("the disk does not answer") from None

    async def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """See Log."""
        follower = Follower(after)
        self._followers.add(follower)
        try:
            while not self._closed:
                told, messages = follower.take()
                for item in told:
                    yield item
                for batch in bounded(messages):
                    yield batch
                if told or messages:
                    continue
                if not follower.live and not follower.asked:
                    follower.asked = True
                    self._writer.inbox.put(
                        partial(
                            self._writer.feed,
                            follower,
                            follower.lives,
                            follower.position,
                            fresh=follower.fresh,
                        )
                    )
                await follower.wait()
        finally:
            self._followers.discard(follower)
            self._writer.inbox.put(partial(self._writer.release, follower))

    async def close(self) -> None:
        """See Log."""
        if not self._open:
            self._closed = True
            return
        if self._ending is None:
            self._hand_over()
            self._ending = self._loop.create_future()
            self._writer.inbox.put(self._writer.close)
        # A disk that does not answer is not waited for; what was acknowledged is in its hands.
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.LOG_OPEN_TIMEOUT):
                # Shielded: who else waits for the end is not cancelled with us.
                await asyncio.shield(self._ending)
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for follower in self._followers:
            follower.wake()


def _refusal(reason: str) -> Refusal:
    again = "Publish again, with the same idempotency key."
    return Refusal("log_unavailable", f"Nothing can be kept now: {reason}. {again}")
