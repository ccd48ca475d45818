"""Following a Redis log: a connection of its own, on which XREAD waits for what comes.

    connect, ask which life goes on → look at what is kept, piece by piece → XREAD, one answer after the other

The looks are atomic: a script reads life and entries together. XREAD is not, so each of its entries must
continue the chain (script.py). One that does not, and a second without any, lead back to a look.

Owns: one follower's place in the stream. Does not own: lives, retention.
Invariant: what is yielded under a life follows, without a hole that is not told, what was yielded before.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.message import Hole, Life, Message
from tidings.logs.base import Batch, bounded
from tidings.logs.redis.join import backoff, enter, join, reason
from tidings.logs.redis.known import Known
from tidings.logs.redis.link import Failed, Link, LinkLost
from tidings.logs.redis.script import LOOK, Seen, Terms
from tidings.logs.redis.url import Place
from tidings.wire import record

_log = logging.getLogger("tidings.logs")

_END: Final = 2**64 - 1  # the highest second part of an entry's id
_SILENT: Final = limits.LOG_PULSE + limits.LOG_TIMEOUT


@dataclass(slots=True)
class _Entry:
    """One entry of the stream that is ours: what it adds to the chain, and its message."""

    position: int
    nonce: str
    link: str
    time_ms: int
    record: bytes


class Tail:
    """One follower of a log, behind position `after` of the life that it comes into."""

    def __init__(self, place: Place, terms: Terms, known: Known, after: int) -> None:
        self._place = place
        self._terms = terms
        self._known = known
        self._after = after
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._life: str | None = None
        self._position = 0
        self._chain: str | None = None  # the link that the next entry must have; None before the first look
        self._id = ""  # of the last entry that was read, also of one that is not ours
        self._live = False  # everything kept was read: XREAD
        self._heard = self._loop.time()
        self._failures = 0
        self._complained = ""
        self._stopped = asyncio.Event()

    @property
    def away_since(self) -> float | None:
        """When Redis was last heard, while it is not."""
        if self._link is None:
            return self._heard
        # An XREAD that is not answered in time is a sign before it is given up.
        heard = self._link.heard
        return heard if self._loop.time() - heard > limits.LOG_PULSE + limits.LOG_PULSE / 2 else None

    async def follow(self) -> AsyncGenerator[Batch, None]:
        """See Log.follow."""
        try:
            while not self._stopped.is_set():
                for batch in await self._step():
                    yield batch
        finally:
            self._drop()

    async def read(self, channels: frozenset[str], limit: int) -> list[Message]:
        """See Log.read. Raises what `connect` and `join` do, and LinkLost where another life begins."""
        found: list[Message] = []
        try:
            async with asyncio.timeout(_SILENT):
                await self._join()
            while not self._live and len(found) < limit:
                if self._link is None:
                    raise LinkLost("another life has begun")
                async with asyncio.timeout(_SILENT):
                    batches = await self._look()
                for batch in batches:
                    if not isinstance(batch, Life | Hole):
                        found += [m for m in batch if m.channel in channels and m.position > self._after]
        finally:
            self._drop()
        return found[:limit]

    def stop(self) -> None:
        """End following."""
        self._stopped.set()
        self._drop()

    def wake(self, epoch: str) -> None:
        """Another life has begun, as somebody else has heard: find out now, not after the next silence."""
        if self._link is not None and self._life not in (None, epoch):
            self._drop()

    def _drop(self) -> None:
        if self._link is not None:
            self._heard = self._link.heard
            self._link.drop()
            self._link = None

    async def _step(self) -> list[Batch]:
        """Return what one question brings."""
        try:
            async with asyncio.timeout(_SILENT):
                if self._link is None:
                    return await self._join()
                return await (self._wait() if self._live else self._look())
        except (OSError, Failed, ValueError, SettingsError) as error:
            self._drop()
            if not self._stopped.is_set():
                await self._failed(error)
            return []

    async def _failed(self, error: Exception) -> None:
        said = reason(error)
        self._failures += 1
        # A cut that heals at the first attempt is not worth a line.
        if self._failures > 1 and said != self._complained:
            self._complained = said
            _log.warning("the log at %s cannot be followed: %s", self._place, said)
        if self._failures > 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff(self._failures - 2)):
                    await self._stopped.wait()

    # --- the steps ------------------------------------------------------------------------------

    async def _join(self) -> list[Batch]:
        link, answer = await enter(self._place, self._terms, self._seen)
        if self._stopped.is_set():
            link.drop()
            return []
        self._link = link
        self._known.join(answer.seen)
        self._live = False
        if answer.seen.epoch == self._life:
            return []
        # `after` is a position of the first life only. Beyond its head nothing was seen, whatever is said.
        self._position = min(self._after, answer.seen.position) if self._life is None else 0
        self._life, self._chain = answer.seen.epoch, None
        self._id = f"{self._position}-{_END}"
        lost = answer.first - 1
        if lost > self._position:
            self._position = lost
        return [Life(self._life, lost)]

    def _seen(self) -> Seen | None:
        if self._life is not None and self._chain is not None:
            return Seen(self._life, self._position, self._chain)
        return self._known.seen

    async def _look(self) -> list[Batch]:
        """Read a piece of what is kept, together with the life that it is in."""
        connection = self._link  # `wake` may take it from us while we wait
        assert connection is not None
        arguments = (self._terms.keys[0], self._terms.keys[1])
        bounds = (f"({self._id}", limits.REDIS_READ_MESSAGES, limits.ANSWER_BYTES)
        try:
            found = await connection.call(*LOOK.command(arguments), *bounds)
        except Failed as failed:
            if failed.code != "NOSCRIPT":
                raise
            found = await connection.call(*LOOK.command(arguments, whole=True), *bounds)
        match found:
            case [bytes() as epoch, int() as head, bytes() as link, list() as raw]:
                pass
            case _:
                raise ValueError("its answer is malformed")
        if epoch.decode() != self._life:
            self._drop()  # joining finds out which
            return []
        entries, end = self._entries(raw)
        told: list[Batch] = []
        if entries:
            first = entries[0].position
            follows = self._follows(entries[0].link)
            if self._chain is not None and not follows and not await self._has_gone():
                return []
            if first > self._position + 1 and not follows:
                told.append(Hole(first - 1))
            told += self._take(entries)
        elif not raw:
            if self._chain is not None and (head != self._position or not self._follows(link.decode())):
                if not await self._has_gone():
                    return []
                told.append(Hole(head))
            self._position, self._chain = max(head, self._position), link.decode()
            self._live = True
        self._id = end
        return told

    def _follows(self, link: str) -> bool:
        # What was kept of another life is followed by the first entry of this one.
        return link in (self._chain, self._life)

    async def _has_gone(self) -> bool:
        """Whether the log only went on without us. Else it has lost what we have, and begins another life."""
        if self._link is None:
            return False  # given up while we waited; what was read is read again
        assert self._life is not None
        assert self._chain is not None
        answer = await join(self._link, self._terms, Seen(self._life, self._position, self._chain))
        if answer.seen.epoch == self._life:
            return True
        self._drop()
        return False

    async def _wait(self) -> list[Batch]:
        """Wait for what comes next."""
        assert self._link is not None
        found = await self._link.call(
            *("XREAD", "COUNT", limits.REDIS_READ_MESSAGES, "BLOCK", int(limits.LOG_PULSE * 1000)),
            *("STREAMS", self._terms.keys[1], self._id),
        )
        self._failures, self._complained = 0, ""
        match found:
            case None:
                self._live = False
                return []
            case [[_, list() as raw]]:
                pass
            case _:
                raise ValueError("its answer is malformed")
        entries, end = self._entries(raw)
        chain = self._chain
        for entry in entries:
            if entry.link != chain:
                # Perhaps another life. A look says so, and reads all of this again.
                self._live = False
                return []
            chain = entry.nonce
        self._id = end
        return self._take(entries)

    # --- entries ----------------------------------------------------------------------------------

    def _entries(self, raw: list[Any]) -> tuple[list[_Entry], str]:
        """Return those that are ours, and the id of the last one. The others are passed over, with a line."""
        entries = []
        name = self._id
        try:
            for raw_name, fields in raw:
                name = raw_name.decode("ascii")
                try:
                    entries.append(_entry(name, *fields))
                except (TypeError, ValueError):
                    self._pass_over(name, "it has other fields than ours have")
        except (TypeError, AttributeError):
            raise ValueError("its answer is malformed") from None
        return entries, name

    def _take(self, entries: list[_Entry]) -> list[Batch]:
        if not entries:
            return []
        assert self._life is not None
        messages: list[Message] = []
        life = self._life
        for entry in entries:
            try:
                kept = record.unpack(entry.record)
            except record.BadRecord as bad:
                self._pass_over(f"{entry.position}-{entry.nonce}", str(bad))
                continue
            messages.append(
                Message(life, entry.position, kept.channel, entry.time_ms, kept.data, kept.event, kept.key)
            )
        last = entries[-1]
        self._position, self._chain = last.position, last.nonce
        self._known.hear(Seen(life, last.position, last.nonce))
        batches: list[Batch] = list(bounded(messages))
        if not messages or messages[-1].position != last.position:
            batches.append(Hole(last.position, ours=False))
        return batches

    def _pass_over(self, name: str, why: str) -> None:
        _log.warning("the log at %s holds something that is not ours: entry %s: %s", self._place, name, why)


def _entry(name: str, x: bytes, mark: bytes, d: bytes, kept: bytes) -> _Entry:
    """Return the entry of this name. Raises TypeError or ValueError when it is none of ours."""
    time_ms, _, link = mark.split(b" ")
    if x != b"x" or d != b"d" or not link.isalnum():
        raise ValueError
    position, _, nonce = name.partition("-")
    return _Entry(int(position), nonce, link.decode("ascii"), int(time_ms), kept)
