"""Appending to a Redis log: one connection, on which calls of the script follow each other closely.

What one turn of the event loop brings is one call. A few calls may be on the way at once; what comes
meanwhile waits, and goes out together with the next answer: the busier it is, the larger a call.

Owns: the connection for appends, the order of appends, their deadlines. Does not own: what the script does.
Invariant: every future is done within `limits.LOG_TIMEOUT`, and no message is sent twice.
"""

import asyncio
import logging
from asyncio import Future, TimerHandle
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.message import Cursor, Draft, Durability, Receipt
from tidings.logs.redis.join import backoff, enter, reason, unavailable
from tidings.logs.redis.known import Known
from tidings.logs.redis.link import Failed, Link, LinkLost
from tidings.logs.redis.script import APPEND, Answer, Terms, key_field, read_answer
from tidings.logs.redis.url import Place
from tidings.wire import record

_log = logging.getLogger("tidings.logs")

# This Redis takes no more writes of ours, and another one may.
_ELSEWHERE: Final = frozenset({"READONLY", "MASTERDOWN", "LOADING", "MOVED", "CLUSTERDOWN", "NOAUTH"})


@dataclass(slots=True)
class _Append:
    """Drafts that are appended together, or none: a question for the life and its head."""

    drafts: Sequence[Draft]
    future: "Future[Any]"
    due: float


@dataclass(slots=True)
class _Call:
    """One call of the script: appends that go together, in order."""

    appends: list[_Append] = field(default_factory=list)
    arguments: list[str | bytes] = field(default_factory=list)


class Writer:
    """Appends for one log. `away_since` is when Redis was last heard here, while it cannot be reached."""

    def __init__(self, place: Place, terms: Terms, known: Known) -> None:
        self._place = place
        self._terms = terms
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._queue: deque[_Append] = deque()
        self._calls: deque[_Call] = deque()
        self._again: list[_Call] = []
        self._pending = 0  # messages in the queue and on the way
        self._unanswered = 0  # appends and questions, the same
        self._scheduled = False
        self._timer: TimerHandle | None = None
        self._asked: Future[Any] | None = None  # a question that waits in the queue
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self._idle: Future[None] | None = None
        self._complained = ""
        self.away_since: float | None = None

    # --- the connection -----------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and stay connected from now on. Raises SettingsError when that cannot be."""
        until = self._loop.time() + limits.LOG_OPEN_TIMEOUT
        failures = 0
        while True:
            try:
                link = await self._join()
                break
            except (OSError, Failed, ValueError) as error:
                wait = backoff(failures)
                failures += 1
                if self._loop.time() + wait > until:
                    raise SettingsError(
                        f"The log at {self._place} cannot be used within {limits.LOG_OPEN_TIMEOUT:g} s"
                        f" ({reason(error)}): is Redis running there, and does it take writes?"
                    ) from None
                await asyncio.sleep(wait)
        if link.evicts:
            _log.warning(
                "the Redis at %s may drop the log for other data: set maxmemory-policy noeviction",
                self._place,
            )
        self._keeper = asyncio.create_task(self._keep(link))

    async def _join(self) -> Link:
        """Return a connection on which the script has said which life goes on."""
        link, answer = await enter(self._place, self._terms, lambda: self._known.seen)
        self._known.join(answer.seen)
        return link

    async def _keep(self, link: Link) -> None:
        while True:
            self._link, self.away_since, self._complained = link, None, ""
            since = self._loop.time()
            self._flush()
            try:
                # A Future that is awaited is cancelled with its waiter, and others look at this one.
                await asyncio.wait([link.lost])
            finally:
                link.drop()
                self._link = None
            self._fail_calls()
            # A connection that was lost at once is as good as none.
            failures = 0 if self._loop.time() - since > limits.LOG_BACKOFF else 1
            while True:
                if failures:
                    await asyncio.sleep(backoff(failures))
                failures += 1
                try:
                    link = await self._join()
                    break
                except (OSError, Failed, ValueError, SettingsError) as error:
                    self._go_away(link.heard, reason(error))

    def _go_away(self, heard: float, why: str) -> None:
        if self.away_since is None:
            self.away_since = heard
        if why != self._complained:
            self._complained = why
            _log.warning("the log at %s cannot be written to: %s", self._place, why)
        self._fail_calls()
        while self._queue:
            self._fail(self._queue.popleft(), unavailable("The log cannot be reached."))

    def _lose(self, why: str) -> None:
        """Give the connection up: nothing that was sent on it is waited for any longer."""
        if self._link is not None:
            heard = self._link.heard
            self._link.drop()
            self._link = None
            self._go_away(heard, why)

    async def close(self) -> None:
        """Wait for the answers that are due, and give the connection back."""
        self._closed = True
        if self._unanswered:
            self._idle = self._idle or self._loop.create_future()
            await asyncio.wait([self._idle])  # whoever gives up waiting does not end it for others
        if self._timer is not None:
            self._timer.cancel()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    # --- what is appended -----------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log.append."""
        future: Future[list[Receipt]] = self._loop.create_future()
        if not drafts:
            future.set_result([])
        elif self._closed:
            future.set_exception(unavailable("The log is closed."))
        elif self.away_since is not None:
            future.set_exception(unavailable("The log cannot be reached."))
        elif self._pending + len(drafts) > limits.LOG_PENDING:
            future.set_exception(unavailable("Too many messages wait for the log."))
        else:
            self._enqueue(_Append(drafts, future, self._loop.time() + limits.LOG_TIMEOUT))
        return future

    def ask(self) -> "Future[None]":
        """See Log.refresh. Who asks before the question is sent shares its answer: it is newer than all."""
        if self._asked is None:
            asked: Future[Any] = self._loop.create_future()
            if self._closed or self.away_since is not None:
                asked.set_exception(unavailable("The log cannot be reached."))
                return asked
            self._asked = asked
            self._enqueue(_Append((), asked, self._loop.time() + limits.LOG_TIMEOUT))
        # One that is cancelled does not take it from the others.
        return asyncio.shield(self._asked)

    def _enqueue(self, append: _Append) -> None:
        self._queue.append(append)
        self._pending += len(append.drafts)
        self._unanswered += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        if self._timer is None:
            self._timer = self._loop.call_at(append.due, self._late)

    def _turn(self) -> None:
        self._scheduled = False
        self._flush()

    def _flush(self) -> None:
        # What Redis did not know the script for goes first, and when nothing is on the way any more:
        # so the order stays.
        if self._again:
            if self._is_up() and not self._calls:
                again, self._again = self._again, []
                for call in again:
                    self._send(call, whole=call is again[0])
            return
        while self._queue and self._is_up() and len(self._calls) < limits.REDIS_CALLS:
            self._send(self._group())

    def _is_up(self) -> bool:
        return self._link is not None and not self._link.lost.done()

    def _group(self) -> _Call:
        call = _Call()
        count = size = 0
        while self._queue and (count < limits.REDIS_CALL_MESSAGES and size < limits.REDIS_CALL_BYTES):
            append = self._queue.popleft()
            call.appends.append(append)
            if append.future is self._asked:
                self._asked = None
            for draft in append.drafts:
                packed = record.pack(draft)
                key = draft.idempotency_key
                call.arguments += (packed, b"" if key is None else key_field(draft.channel, key))
                size += len(packed)
            count += len(append.drafts)
        call.arguments.insert(0, str(count))
        return call

    def _send(self, call: _Call, *, whole: bool = False) -> None:
        assert self._link is not None
        self._calls.append(call)
        self._link.send(
            self._receive,
            *APPEND.command(self._terms.keys, whole=whole),
            *self._terms.append(self._link, self._known.seen),
            *call.arguments,
        )

    # --- what is answered -----------------------------------------------------------------------

    def _receive(self, found: Any) -> None:
        if not self._calls:
            return  # given up, and told so already
        call = self._calls.popleft()
        if isinstance(found, LinkLost):
            self._refuse(call, "The log's connection broke.")
        elif isinstance(found, Failed):
            self._failed(call, found)
        else:
            try:
                self._answered(call, read_answer(found))
            except (ValueError, StopIteration):
                # Whatever that was, the next answers cannot be trusted either.
                self._refuse(call, "The log answered nonsense.")
                self._lose("its answer is malformed")
        self._flush()

    def _answered(self, call: _Call, answer: Answer) -> None:
        places = answer.places
        if len(places) != (len(call.arguments) - 1) // 2 or not all(
            isinstance(place, int) for place in places
        ):
            raise ValueError("the script's answer has another length than the question")
        self._known.hear(answer.seen)
        durability = Durability.MEMORY if self._link is None else self._link.durability
        epoch = answer.seen.epoch
        each = iter(places)
        for append in call.appends:
            receipts = [
                Receipt(Cursor(epoch, abs(place)), durability, duplicate=place < 0)
                for _, place in zip(append.drafts, each, strict=False)
            ]
            self._done(append)
            if not append.future.done():
                append.future.set_result(receipts if append.drafts else None)

    def _failed(self, call: _Call, failed: Failed) -> None:
        if failed.code == "NOSCRIPT":
            self._again.append(call)
            return
        self._refuse(call, f"The log refuses ({failed.code}).")
        if failed.code in _ELSEWHERE:
            self._lose(failed.code)
        elif failed.code != self._complained:
            self._complained = failed.code
            _log.warning("the log at %s refuses an append: %s", self._place, failed.code)

    def _refuse(self, call: _Call, detail: str) -> None:
        for append in call.appends:
            self._fail(append, unavailable(detail))

    def _fail_calls(self) -> None:
        calls = (*self._again, *self._calls)
        self._again.clear()
        self._calls.clear()
        for call in calls:
            self._refuse(call, "The log does not answer.")

    def _fail(self, append: _Append, refusal: Refusal) -> None:
        self._done(append)
        if not append.future.done():
            append.future.set_exception(refusal)

    def _done(self, append: _Append) -> None:
        self._pending -= len(append.drafts)
        self._unanswered -= 1
        if append.future is self._asked:
            self._asked = None
        if self._idle is not None and not self._unanswered and not self._idle.done():
            self._idle.set_result(None)

    def _late(self) -> None:
        """Look whether the oldest append was answered in time."""
        self._timer = None
        oldest = next(
            (c.appends[0] for c in (*self._again, *self._calls)), self._queue[0] if self._queue else None
        )
        if oldest is None:
            return
        if oldest.due <= self._loop.time():
            if self._link is not None:
                self._lose("it does not answer")
            else:
                self._go_away(self._loop.time() - limits.LOG_TIMEOUT, "it does not answer")
        else:
            self._timer = self._loop.call_at(oldest.due, self._late)
