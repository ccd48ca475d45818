"""The parent's end of a log that several workers share: questions in, answers and messages out.

Owns: how far each worker's following is, and what is written to it. Does not own: the log, which is any
other behind the port; the processes (server/workers.py); the workers' end (log.py).

One tail of the log is followed for all workers, and a batch of it is rendered once. A following that is not
at the head (it has just begun, or its worker does not read) is no queue but a position: it follows
the log by itself until it has caught up.

Invariant: what is held for one worker is at most about `limits.WORKER_BUFFER`, whatever the worker does.
"""

import asyncio
import logging
from asyncio import AbstractEventLoop, BaseTransport, Future, Protocol, Task, Transport
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from socket import socket
from typing import Any, Final, cast

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Hole, Life, Message, Receipt
from tidings.logs.base import Log, bounded
from tidings.wire import shared_log as wire
from tidings.wire.frames import BadFrame, Frames

_log = logging.getLogger("tidings.log")

_MARKS_A_FRAME: Final = 5_000  # about 200 bytes each at most


class Sharing:
    """Hands one open log to workers. Make it inside the loop; `tail` ends when the log does, or fails."""

    def __init__(self, log: Log, loop: AbstractEventLoop) -> None:
        self.log = log
        self.loop = loop
        self.position = log.head
        self.epoch = log.epoch
        self._live: dict[_Feed, None] = {}
        self._links: set[_Link] = set()
        self._tasks: set[Task[None]] = set()
        self.tail: Task[None] = loop.create_task(self._follow())

    async def attach(self, sock: socket) -> None:
        """Serve the worker at the other end of `sock`, which is ours from now on."""
        await self.loop.create_unix_connection(lambda: _Link(self), sock=sock)

    async def close(self) -> None:
        """Hang up on every worker. The log stays open: it is the owner's."""
        for link in list(self._links):
            link.cut()
        tasks = [self.tail, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the one tail ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        async for batch in self.log.follow(self.position):
            if isinstance(batch, Life | Hole):
                if isinstance(batch, Hole) or batch.epoch != self.epoch:
                    # Rare, and each stands somewhere else: they find out for themselves.
                    for feed in list(self._live):
                        feed.fall_behind()
                if isinstance(batch, Life) and batch.epoch != self.epoch:
                    self.epoch, self.position = batch.epoch, 0
            else:
                self._bring(batch)

    def _bring(self, messages: Sequence[Message]) -> None:
        end = self.position = messages[-1].position
        rendered: dict[int, bytes] = {}
        for feed in tuple(self._live):
            if feed.position >= messages[0].position:
                feed.bring(messages)  # it was ahead of this tail
                continue
            # A worker's delivery is its first following: one rendering is for all of them.
            data = rendered.get(feed.number)
            if data is None:
                data = rendered[feed.number] = _render(feed.number, messages)
            feed.position = end
            feed.link.send(data)

    # --- what links need --------------------------------------------------------------------------

    def is_head(self, feed: "_Feed") -> bool:
        """Whether the tail brings all that `feed` still lacks."""
        return feed.epoch == self.epoch and feed.position >= self.position

    def set_live(self, feed: "_Feed", live: bool) -> None:  # noqa: FBT001  the one thing it sets
        """Let the tail bring to `feed`, or no more."""
        if live:
            self._live[feed] = None
        else:
            self._live.pop(feed, None)

    def add(self, link: "_Link") -> None:
        """A worker is there."""
        self._links.add(link)

    def remove(self, link: "_Link") -> None:
        """A worker is gone."""
        self._links.discard(link)

    def own(self, work: Coroutine[Any, Any, None], link: "_Link") -> Task[None]:
        """Return a task that does `work`; its failure ends the link."""

        def ended(task: Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("worker_link_failed", exc_info=error)
                link.cut()

        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task


def _render(number: int, messages: Sequence[Message]) -> bytes:
    return wire.pack(wire.Brought(number, messages[0].epoch, wire.rows_of(messages)))


class _Link(Protocol):
    """The connection to one worker. What one turn of the loop brings it goes out in one write."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self._transport: Transport
        self._frames = Frames()
        self._out: list[bytes] = []
        self._feeds: dict[int, _Feed] = {}
        self._greeted = False
        self._takes: Future[None] | None = None  # while the worker reads too slowly
        self._gone = False

    # --- what the event loop calls ------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        """The worker's socket is ours."""
        self._transport = cast("Transport", transport)
        self._transport.set_write_buffer_limits(limits.WORKER_BUFFER, limits.WORKER_BUFFER // 8)
        self._sharing.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """The worker has ended, or was cut."""
        self._gone = True
        self._sharing.remove(self)
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()
        self._out.clear()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The worker does not read. Nothing more is taken from it, either: its answers would pile up."""
        if self._takes is None:
            self._takes = self._sharing.loop.create_future()
            self._transport.pause_reading()
            for feed in self._feeds.values():
                feed.fall_behind()

    def resume_writing(self) -> None:
        """The worker has read."""
        if self._takes is not None:
            self._takes.set_result(None)
            self._takes = None
            if not self._gone:
                self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """The worker asks."""
        try:
            for body in self._frames.feed(data):
                self._asked(wire.question(body))
        except BadFrame as why:
            _log.error("worker_link_cut reason=%s", why)
            self.cut()

    # --- out --------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write `data` with all else that this turn of the loop brings."""
        if self._gone:
            return
        if not self._out:
            self._sharing.loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._gone:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    async def taken(self, seconds: float | None = None) -> bool:
        """Wait until the worker reads again, so long at most; return whether it does."""
        self._flush()
        if self._takes is not None:
            await asyncio.wait((self._takes,), timeout=seconds)
        return self._takes is None

    def cut(self) -> None:
        """Hang up: the worker ends then."""
        self._gone = True
        self._transport.abort()

    # --- in ---------------------------------------------------------------------------------------

    def _asked(self, asked: wire.Question) -> None:
        log = self._sharing.log
        if isinstance(asked, wire.Append) and self._greeted:
            self._answer(log.append(wire.drafts_of(asked.drafts)), partial(self._appended, asked.number))
        elif isinstance(asked, wire.Hello):
            self._greeted = asked.version == wire.VERSION
            self.send(wire.pack(wire.Welcome(wire.VERSION, log.epoch, log.head)))
        elif not self._greeted:
            raise BadFrame("a question before hello, or of another version")
        elif isinstance(asked, wire.Refresh):
            refreshed = log.refresh()
            if refreshed is None:
                self.send(wire.pack(wire.Refreshed(asked.number, log.epoch, log.head, log.refusing)))
            else:
                self._answer(refreshed, partial(self._refreshed, asked.number))
        elif isinstance(asked, wire.Follow):
            if asked.number in self._feeds:
                raise BadFrame("a following that is there already")
            feed = self._feeds[asked.number] = _Feed(self._sharing, self, asked.number, asked.after)
            feed.fall_behind()
        elif isinstance(asked, wire.Unfollow):
            ended = self._feeds.pop(asked.number, None)
            if ended is not None:
                ended.stop()
        elif isinstance(asked, wire.Read):
            self._sharing.own(self._read(asked), self)

    def _answer(self, answered: "Future[Any]", tell: Any) -> None:
        if answered.done():
            tell(answered)
        else:
            answered.add_done_callback(tell)

    def _appended(self, number: int, answered: "Future[list[Receipt]]") -> None:
        if self._refused(number, answered):
            return
        receipts = answered.result()
        log = self._sharing.log
        first = receipts[0]
        positions = [-r.cursor.position if r.duplicate else r.cursor.position for r in receipts]
        told = wire.Appended(number, first.cursor.epoch, log.head, first.durability, positions)
        self.send(wire.pack(told))

    def _refreshed(self, number: int, answered: "Future[None]") -> None:
        if not self._refused(number, answered):
            log = self._sharing.log
            self.send(wire.pack(wire.Refreshed(number, log.epoch, log.head, log.refusing)))

    def _refused(self, number: int, answered: "Future[Any]") -> bool:
        """Tell the worker that the log has refused, if so."""
        if answered.cancelled():
            error: BaseException | None = Refusal("log_unavailable", "The log was closed meanwhile.")
        else:
            error = answered.exception()
        if error is None:
            return False
        if not isinstance(error, Refusal):
            _log.error("log_failed", exc_info=error)
        detail = error.detail if isinstance(error, Refusal) else "The log failed; the server's log says why."
        self.send(wire.pack(wire.Refused(number, detail)))
        return True

    async def _read(self, asked: wire.Read) -> None:
        log = self._sharing.log
        try:
            messages = await log.read(asked.channels, asked.after, asked.limit)
        except Refusal as refusal:
            self.send(wire.pack(wire.Refused(asked.number, refusal.detail)))
            return
        for part in bounded(messages):
            rows = wire.rows_of(part)
            self.send(wire.pack(wire.Messages(asked.number, part[0].epoch, rows, more=True)))
            await self.taken()
        self.send(wire.pack(wire.Messages(asked.number, log.epoch, [], more=False)))


class _Feed:
    """One following of one worker: a number, and a place in the log."""

    __slots__ = ("_sharing", "_task", "epoch", "link", "number", "position")

    def __init__(self, sharing: Sharing, link: _Link, number: int, after: int) -> None:
        self._sharing = sharing
        self.link = link
        self.number = number
        self.position = after
        self.epoch: str | None = None  # of the life that its worker was told of
        self._task: Task[None] | None = None

    def bring(self, messages: Sequence[Message]) -> None:
        """Bring what of `messages` was not brought yet."""
        fresh = [m for m in messages if m.position > self.position]
        if fresh:
            self.position = fresh[-1].position
            self.link.send(_render(self.number, fresh))

    def fall_behind(self) -> None:
        """Follow the log alone from here, until it is at the head again."""
        self._sharing.set_live(self, False)
        if self._task is None:
            self._task = self._sharing.own(self._catch_up(), self.link)

    def stop(self) -> None:
        """Bring nothing more."""
        self._sharing.set_live(self, False)
        if self._task is not None:
            self._task.cancel()

    async def _catch_up(self) -> None:
        await self.link.taken()
        while await self._follow():
            await self.link.taken()

    async def _follow(self) -> bool:
        """Follow the log alone, up to the head; return whether that must begin again."""
        async with aclosing(cast("Any", self._sharing.log.follow(self.position))) as batches:
            async for batch in batches:
                if isinstance(batch, Life):
                    if self.epoch not in (None, batch.epoch) and self.position:
                        # Another life, which a position of the last one says nothing of.
                        self.epoch, self.position = None, 0
                        return True
                    self._begin(batch)
                elif isinstance(batch, Hole):
                    self._lose(batch.through)
                else:
                    self.bring(batch)
                if not await self.link.taken(limits.WORKER_PATIENCE):
                    return True  # the log's follower of a worker that does not read would grow
                if self._sharing.is_head(self):
                    # At once, before the follower is given back: the tail must miss nothing meanwhile.
                    self._task = None
                    self._sharing.set_live(self, True)
                    return False
        return False

    def _begin(self, life: Life) -> None:
        if self.epoch == life.epoch:
            # It was here before: only what has gone since is news.
            lost = max((life.lost_through, *life.marks.values()))
            if lost > self.position:
                self._lose(lost)
            return
        self.epoch = life.epoch
        head = self._sharing.log.head
        marks = iter(life.marks.items())
        more = True
        while more:
            part = dict(islice(marks, _MARKS_A_FRAME))
            more = len(part) == _MARKS_A_FRAME
            told = wire.Begun(self.number, life.epoch, head, life.lost_through, part, more)
            self.link.send(wire.pack(told))

    def _lose(self, through: int) -> None:
        self.position = max(self.position, through)
        self.link.send(wire.pack(wire.Lost(self.number, through)))
