"""A worker's end of the log that its parent shares: one more log behind the port, over a socket.

Owns: questions that wait for their answers, and the followers here. Does not own: the log itself, which
is the parent's (sharing.py); appends until they are asked (appends.py); the frames (wire/shared_log.py).

Appends of one turn of the loop are one question, and what one turn asks is one write. The socket is not
made anew: a parent that hangs up has ended, and with it the log, so every following ends, too.

Invariant: answers come within `limits.LOG_TIMEOUT` or are refused; a follower holds at most about
`limits.WORKER_BUFFER`, then the socket is not read.
"""

import asyncio
from asyncio import AbstractEventLoop, BaseTransport, Future, Protocol, TimerHandle, Transport
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from itertools import count
from socket import socket
from typing import Any, Final, NamedTuple, cast

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.message import Draft, Hole, Life, Message, Receipt
from tidings.logs.base import Batch, Log, bounded
from tidings.logs.shared.appends import Appends, size_of
from tidings.logs.shared.follower import Follower
from tidings.wire import shared_log as wire
from tidings.wire.frames import BadFrame, Frames

_LOOK_EVERY: Final = 0.5
_SILENT: Final = 1.0  # then the log is asked how it stands, to learn whether it is there


class _Asked(NamedTuple):
    """A question that waits: until when, who takes its answer, and who is told that there is none."""

    until: float
    take: Callable[[Any], None]
    fail: Callable[[Refusal], None]


class SharedLog(Log):
    """The log at the other end of `sock`, which is ours from now on."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        self._loop: AbstractEventLoop
        self._transport: Transport | None = None
        self._frames = Frames()
        self._epoch = ""
        self._head = 0
        self._heard = 0.0
        self._away = False
        self._refusing = ""
        self._ended = False
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}
        self._out: list[bytes] = []
        self._appends = Appends()
        self._refreshing: Future[None] | None = None
        self._reads: dict[int, list[Message]] = {}
        # Numbers of their own: each worker's first is 1, so that all are brought the same bytes.
        self._followings = count(1)
        self._followers: dict[int, Follower] = {}
        self._held = 0
        self._timer: TimerHandle | None = None
        self._due = 0.0

    @property
    def epoch(self) -> str:
        """See Log."""
        return self._epoch

    @property
    def head(self) -> int:
        """See Log."""
        return self._head

    @property
    def away_since(self) -> float | None:
        """See Log: the parent does not answer, or is gone."""
        return self._heard if self._away else None

    @property
    def refusing(self) -> str:
        """See Log: as the parent says, which is asked whenever it has refused, until it refuses no more."""
        return self._refusing

    async def open(self) -> None:
        """See Log."""
        self._loop = asyncio.get_running_loop()
        welcome: Future[wire.Welcome] = self._loop.create_future()
        self._heard = self._loop.time()
        await self._loop.create_unix_connection(lambda: _Socket(self), sock=self._sock)
        self._asked[0] = _Asked(
            self._heard + limits.LOG_OPEN_TIMEOUT, welcome.set_result, welcome.set_exception
        )
        self._send(wire.pack(wire.Hello(wire.VERSION)))
        self._look()
        try:
            told = await welcome
        except Refusal as refusal:
            raise SettingsError(
                f"The parent of this worker does not share its log: {refusal.detail}"
            ) from None
        if told.version != wire.VERSION:
            raise SettingsError(
                f"The parent shares its log in version {told.version}, and this worker speaks "
                f"{wire.VERSION}: restart the whole server."
            )
        self._stands(told.epoch, told.head)

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log."""
        answer: Future[list[Receipt]] = self._loop.create_future()
        size = size_of(drafts)
        if self._ended or self._away:
            answer.set_exception(_gone())
        elif self._appends.pending + len(drafts) > limits.LOG_PENDING or self._is_stuffed():
            answer.set_exception(Refusal("log_unavailable", "Too many messages wait for the log."))
        elif size > limits.WORKER_FRAME_BYTES:
            answer.set_exception(
                Refusal("batch_too_large", "The messages are too many or too long together.")
            )
        elif not drafts:
            answer.set_result([])
        else:
            if self._appends.is_full(size):
                self._ask_appends()
            if not self._appends.waiting:
                self._soon()
            self._appends.add(drafts, size, answer)
        return answer

    def refresh(self) -> "Future[None]":
        """See Log."""
        if self._refreshing is None:
            answer = self._refreshing = self._loop.create_future()
            if self._ended:
                self._refreshed(_gone())
            else:
                number = self._ask(lambda _: self._refreshed(), self._refreshed)
                self._send(wire.pack(wire.Refresh(number)))
            return answer
        return self._refreshing

    async def read(self, channels: Sequence[str], after: int, limit: int) -> list[Message]:
        """See Log."""
        answer: Future[None] = self._loop.create_future()
        if self._ended:
            raise _gone()
        number = self._ask(lambda _: _settle(answer, None), lambda why: _settle(answer, why))
        messages = self._reads[number] = []
        try:
            self._send(wire.pack(wire.Read(number, list(channels), after, limit)))
            await answer
        finally:
            del self._reads[number]
        return messages

    async def follow(self, after: int = 0) -> AsyncIterator[Batch]:
        """See Log; ends when the parent is gone, too."""
        number = next(self._followings)
        follower = self._followers[number] = Follower(self._loop)
        if not self._ended:
            self._send(wire.pack(wire.Follow(number, after)))
        try:
            while not self._ended or follower.batches:
                if not follower.batches:
                    await follower.wait()
                    continue
                batch, size = follower.take()
                self._hold(-size)
                for part in (batch,) if isinstance(batch, Life | Hole) else bounded(batch):
                    yield part
        finally:
            del self._followers[number]
            self._hold(-sum(size for _, size in follower.batches))
            if not self._ended:
                self._send(wire.pack(wire.Unfollow(number)))

    async def settle(self) -> None:
        """Wait until every append is answered, or refused."""
        while self._appends.pending:  # noqa: ASYNC110  each is answered or refused within a bounded time
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        """See Log."""
        if self._transport is None or self._ended:
            self._end()
            return
        await self.settle()
        self._flush()
        self._transport.close()
        for follower in self._followers.values():
            follower.batches.clear()
        self._end()

    # --- asking -----------------------------------------------------------------------------------

    def _ask(self, take: Callable[[Any], None], fail: Callable[[Refusal], None]) -> int:
        number = next(self._numbers)
        self._asked[number] = _Asked(self._loop.time() + limits.LOG_TIMEOUT, take, fail)
        return number

    def _ask_appends(self) -> None:
        joined = self._appends.take()
        number = self._ask(joined.answered, partial(self._appends_refused, joined.refused))
        self._out.append(wire.pack(wire.Append(number, joined.rows)))

    def _appends_refused(self, tell: Callable[[Refusal], None], why: Refusal) -> None:
        tell(why)
        self._doubt()

    def _doubt(self) -> None:
        """Ask how the log stands; whoever needs the answer finds it here."""
        if not self._ended:
            self.refresh().add_done_callback(lambda told: told.exception())

    def _send(self, data: bytes) -> None:
        if self._appends.waiting:
            self._ask_appends()  # in the order in which it was asked
        elif not self._out:
            self._soon()
        self._out.append(data)

    def _soon(self) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._appends.waiting:
            self._ask_appends()
        out, self._out = self._out, []
        if out and self._transport is not None and not self._ended:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _is_stuffed(self) -> bool:
        return (
            self._transport is None or self._transport.get_write_buffer_size() > 2 * limits.WORKER_FRAME_BYTES
        )

    def _look(self) -> None:
        """Refuse what waits for too long, and see whether the log is there at all."""
        now = self._loop.time()
        if self._due and now - self._due > _LOOK_EVERY:
            # We are late ourselves: answers may lie in the socket, unread.
            self._asked = {
                n: asked._replace(until=asked.until + now - self._due) for n, asked in self._asked.items()
            }
        for number in [number for number, asked in self._asked.items() if asked.until <= now]:
            self._away = True
            self._asked.pop(number).fail(
                Refusal(
                    "log_unavailable", "The log does not answer; ask again with the same Idempotency-Key."
                )
            )
        if self._epoch and (self._refusing or now - self._heard > _SILENT):
            self._doubt()
        if not self._ended:
            self._due = now + _LOOK_EVERY
            self._timer = self._loop.call_at(self._due, self._look)

    # --- answers ----------------------------------------------------------------------------------

    def connected(self, transport: Transport) -> None:
        """The socket is ready."""
        self._transport = transport

    def received(self, data: bytes) -> None:
        """Bytes have come from the parent."""
        self._heard = self._loop.time()
        self._away = False
        try:
            for body in self._frames.feed(data):
                self._told(wire.answer(body))
        except BadFrame:
            # Our own parent: nothing that it says can be trusted any more.
            assert self._transport is not None
            self._transport.abort()
            self.disconnected()
            raise

    def disconnected(self) -> None:
        """The parent has gone."""
        self._away = not self._ended
        self._end()

    def _end(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._appends.waiting:
            self._ask_appends()
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.fail(_gone())
        for follower in self._followers.values():
            follower.wake()

    def _told(self, told: wire.Answer) -> None:
        if isinstance(told, wire.Brought):
            self._stands(told.epoch, told.rows[-1][0])
            if (follower := self._followers.get(told.number)) is not None:
                messages = wire.messages_of(told.epoch, told.rows)
                self._hold(follower.put(messages))
        elif isinstance(told, wire.Begun):
            self._stands(told.epoch, told.head)
            if (follower := self._followers.get(told.number)) is not None:
                follower.marks |= told.marks
                if not told.more:
                    follower.tell(Life(told.epoch, told.lost_through, follower.marks))
                    follower.marks = {}
        elif isinstance(told, wire.Lost):
            if (follower := self._followers.get(told.number)) is not None:
                follower.tell(Hole(told.through))
        elif isinstance(told, wire.Messages) and told.more:
            if (read := self._reads.get(told.number)) is not None:
                read += wire.messages_of(told.epoch, told.rows)
        else:
            if isinstance(told, wire.Appended | wire.Refreshed):
                self._stands(told.epoch, told.head)
                self._refusing = told.refusing if isinstance(told, wire.Refreshed) else ""
            number = 0 if isinstance(told, wire.Welcome) else told.number
            # None where it was given up for late: whoever asked was told so.
            asked = self._asked.pop(number, None)
            if asked is None:
                return
            if isinstance(told, wire.Refused):
                asked.fail(Refusal("log_unavailable", told.detail))
            else:
                asked.take(told)

    def _stands(self, epoch: str, head: int) -> None:
        self._head = max(self._head, head) if epoch == self._epoch else head
        self._epoch = epoch

    def _refreshed(self, why: Refusal | None = None) -> None:
        asked, self._refreshing = self._refreshing, None
        if asked is not None:
            _settle(asked, why)

    def _hold(self, size: int) -> None:
        """Count what waits for followers, and read no more while it is too much."""
        before, self._held = self._held, self._held + size
        if self._transport is None or self._ended:
            return
        if before <= limits.WORKER_BUFFER < self._held:
            self._transport.pause_reading()
        elif self._held <= limits.WORKER_BUFFER < before:
            self._transport.resume_reading()


class _Socket(Protocol):
    """What the event loop calls; the log is the log."""

    def __init__(self, log: SharedLog) -> None:
        self._log = log

    def connection_made(self, transport: BaseTransport) -> None:
        """The socket is ready."""
        self._log.connected(cast("Transport", transport))

    def data_received(self, data: bytes) -> None:
        """The parent says something."""
        self._log.received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The parent has gone, or we have closed."""
        self._log.disconnected()


def _settle(answer: "Future[None]", why: Refusal | None) -> None:
    if answer.done():
        return
    if why is None:
        answer.set_result(None)
    else:
        answer.set_exception(why)


def _gone() -> Refusal:
    return Refusal("log_unavailable", "The log is not there; ask again with the same Idempotency-Key.")
