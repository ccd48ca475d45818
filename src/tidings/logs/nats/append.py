"""Publishing to the stream: many on their way in order, each answered once.

Owns: which appends wait for what, their deadline, and what an acknowledgement proves. Does not own: the
connection (link.py), the life (stream.py).
Invariant: a receipt is given only for a position that the stream gave out in the life it was published in,
and above every position of that life that was known here when it was published.
"""

import asyncio
import logging
from asyncio import Future, TimerHandle, get_running_loop
from collections import deque
from collections.abc import Sequence
from functools import partial

import msgspec
from nats.aio.msg import Msg

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Cursor, Draft, Durability, Receipt
from tidings.logs.nats.link import LATE, Link, no_responders
from tidings.logs.nats.node import Node
from tidings.logs.nats.record import message_id
from tidings.wire.record import pack


class _Ack(msgspec.Struct):
    """JetStream's answer to a publish (PubAck)."""

    seq: int = 0
    duplicate: bool = False
    error: dict[str, str | int] | None = None


_log = logging.getLogger("tidings.logs")
_decode = msgspec.json.Decoder(_Ack).decode


class _Entry:
    """The drafts of one append."""

    __slots__ = ("bytes", "due", "future", "head", "life", "link", "receipts", "waiting")

    def __init__(self, link: Link, life: str, head: int, count: int, due: float) -> None:
        self.link, self.life, self.head, self.due = link, life, head, due
        self.future: Future[list[Receipt]] = get_running_loop().create_future()
        self.receipts: list[Receipt | None] = [None] * count
        self.waiting = count
        self.bytes = 0


class Appending:
    """All appends that are on their way."""

    def __init__(self, node: Node, durability: Durability) -> None:
        self._node = node
        self._durability = durability
        self._pending = 0
        self._pending_bytes = 0
        self._due: deque[_Entry] = deque()
        self._timer: TimerHandle | None = None
        self._complained = -1.0

    def append(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """See Log.append."""
        node = self._node
        link = None if node.stopped else node.link
        loop = get_running_loop()
        if not drafts or link is None or link.lost.done():
            done: Future[list[Receipt]] = loop.create_future()
            if drafts:
                done.set_exception(_refusal("The log cannot be reached now; nothing was published."))
            else:
                done.set_result([])
            return done
        records = [pack(draft) for draft in drafts]
        entry = _Entry(link, node.life, node.head, len(drafts), loop.time() + limits.LOG_TIMEOUT)
        entry.bytes = sum(map(len, records))
        if (
            self._pending + len(drafts) > limits.LOG_PENDING
            or self._pending_bytes + entry.bytes > limits.LOG_PENDING_BYTES
        ):
            entry.future.set_exception(_refusal("Too much waits for the log; nothing was published."))
            return entry.future
        self._pending += len(drafts)
        self._pending_bytes += entry.bytes
        for index, (draft, record) in enumerate(zip(drafts, records, strict=True)):
            key = draft.idempotency_key
            headers = None if key is None else {"Nats-Msg-Id": message_id(draft.channel, key)}
            link.publish(
                node.stream.subject(node.life, draft.channel),
                record,
                headers,
                partial(self._answered, entry, index, key is not None),
            )
        self._due.append(entry)
        if self._timer is None:
            self._timer = loop.call_at(entry.due, self._look)
        return entry.future

    async def settled(self) -> None:
        """Wait until everything on its way is answered or has failed."""
        while self._due:
            entry = self._due[0]
            if not entry.future.done():
                await asyncio.wait([entry.future], timeout=limits.LOG_TIMEOUT)
                if not entry.future.done():
                    entry.link.drop()
            if self._due and self._due[0] is entry:
                self._due.popleft()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _answered(self, entry: _Entry, index: int, keyed: bool, message: Msg | None) -> None:  # noqa: FBT001  # bound by partial
        entry.waiting -= 1
        self._pending -= 1
        if not entry.waiting:
            self._pending_bytes -= entry.bytes
        receipt = self._receipt(entry, message, keyed=keyed)
        entry.receipts[index] = receipt
        future = entry.future
        if entry.waiting or future.done():
            return
        self._finish(entry)
        while self._due and self._due[0].future.done():
            self._due.popleft()

    def _finish(self, entry: _Entry) -> None:
        receipts = [receipt for receipt in entry.receipts if receipt is not None]
        if len(receipts) == len(entry.receipts):
            entry.future.set_result(receipts)
        else:
            entry.future.set_exception(
                _refusal(
                    "The log did not answer; whether the message is kept is not known. Publish it again, "
                    "with the same Idempotency-Key if it must not be there twice."
                )
            )

    def _receipt(self, entry: _Entry, message: Msg | None, *, keyed: bool) -> Receipt | None:
        if message is None:
            return None
        if no_responders(message):
            # The life is over for these subjects. What there is now is looked up before anything else.
            self._node.doubt(proven=False)
            return None
        try:
            ack = _decode(message.data)
        except (msgspec.DecodeError, RecursionError):
            return None
        if ack.error is not None:
            self._complain(ack.error)
            return None
        if ack.seq < 1 or (ack.duplicate and not keyed):
            return None
        if not ack.duplicate:
            if ack.seq <= entry.head:
                # It was given out already when this was published: the stream has gone back.
                self._node.doubt(proven=True)
                return None
            self._node.appended(entry.life, ack.seq)
        return Receipt(Cursor(entry.life, ack.seq), self._durability, ack.duplicate)

    def _complain(self, error: dict[str, str | int]) -> None:
        """Write down why JetStream keeps nothing, once a second: its disk is full, for instance."""
        now = get_running_loop().time()
        if now - self._complained > 1:
            self._complained = now
            reason = ascii(error.get("description", ""))[:300]
            _log.warning("log_append_refused stream=%s reason=%s", self._node.stream.name, reason)

    def _look(self) -> None:
        """Lose the link whose oldest append is overdue: nothing more is expected of it."""
        loop, due = get_running_loop(), self._due
        now = loop.time()
        while due and due[0].future.done():
            due.popleft()
        if due and due[0].due <= now:
            if due[0].due + LATE < now:
                # It was this process that did not run; the answers may be in the socket, unread.
                due[0].due = now + LATE
            else:
                due[0].link.drop()
            while due and due[0].future.done():
                due.popleft()
        self._timer = loop.call_at(max(due[0].due, now + 0.01), self._look) if due else None


def _refusal(detail: str) -> Refusal:
    return Refusal("log_unavailable", detail)
