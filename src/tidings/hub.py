"""Channels, subscribers, fan-out: the one delivery path.

    log.follow → deliver → history → every cohort's bytes → every subscriber's write

Owns: who hears what from where, and the order in which it is written. Does not own: numbering
(logs/), bytes (wire/), connections and timers (server/), what a transport says around messages (transports/).

The live cohort. Subscribers that have everything on the same set of channels, and are told it in the
same bytes, are one cohort: no cursor, task, queue or timer of their own, only a `write`. A batch is
rendered once for the cohort, joined, and written to each in turn.

Laggards. A subscriber whose connection pushes back leaves its cohort with a position; when the
connection takes bytes again it is refilled from the history, in bounded chunks, until it is live again.

Invariant: a subscriber in a cohort has been written everything on its channels up to `position`;
between two calls into the hub nothing that was delivered waits to be written to a live subscriber.
"""

import logging
import math
from asyncio import Future
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidings.core import limits
from tidings.core.history import History, Retention, Slice
from tidings.core.message import Cursor, Draft, Gap, GapReason, Message, Receipt
from tidings.core.patterns import Rules, SlowPolicy
from tidings.core.start import After, Earliest, Now, RewindCount, Start
from tidings.logs.base import Log
from tidings.wire import cursor as cursors

_PACED = 5  # messages that tell how busy a channel is
_SHARED = 1_000  # answers kept between two messages

_log = logging.getLogger("tidings.hub")


class Rendering(Protocol):
    """How messages become what one kind of subscriber is written. Equal renderings share a cohort."""

    def messages(self, ms: Sequence[Message], /) -> Any:
        """Return what tells `ms`, which is not empty."""

    def gaps(self, gs: Sequence[Gap], cursor: str, /) -> Any:
        """Return what tells `gs`; `cursor` is where the reading goes on."""


class Subscriber:
    """One client's interest in some channels.

    A transport makes one, with the `write` of its connection, and gives it to `Hub.subscribe`.
    `once` subscribers are written one batch and then forgotten: parked long-polls. One that waited
    for this node to catch up with its cursor is written None, and asks again.
    """

    __slots__ = ("channels", "cohort", "floors", "once", "paused", "position", "rendering", "write")

    def __init__(
        self,
        channels: tuple[str, ...],
        rendering: Rendering,
        write: Callable[[Any], object],
        *,
        once: bool = False,
    ) -> None:
        self.channels = channels
        self.rendering = rendering
        self.write = write
        self.once = once
        # Only what is not live has a position: everything up to it has been written.
        self.position = 0
        # Channels of which more has been written, or told as lost, than `position` says.
        self.floors: dict[str, int] | None = None
        self.cohort: Cohort | None = None
        self.paused = False


class Cohort:
    """Live subscribers of the same channels that are written the same bytes."""

    __slots__ = ("channels", "key", "members", "once", "rendering", "written_at")

    def __init__(self, channels: tuple[str, ...], rendering: Rendering, *, once: bool, key: Hashable) -> None:
        self.channels = channels
        self.rendering = rendering
        self.once = once
        self.key = key
        self.members: dict[Subscriber, Callable[[Any], object]] = {}
        self.written_at = -math.inf


@dataclass(slots=True)
class Place:
    """Where a client begins: a position, what is lost before it, and what it may already have.

    `cursor` is the text to tell a client that has not yet been told the gaps: asking again with
    it leads to the same place. It is None where the client's own was not a cursor.
    """

    position: int
    cursor: str | None
    floors: dict[str, int] | None = None
    gaps: list[Gap] = field(default_factory=list)


@dataclass(slots=True)
class Stats:
    """Counted since the start; the measure of the work done, which tests compare instead of times."""

    published: int = 0
    delivered: int = 0
    writes: int = 0
    renderings: int = 0
    gaps: int = 0


class Hub:
    """Fans one log out to subscribers. All methods but `run` return at once.

    `clock` returns seconds since the Unix epoch, `monotonic` those of the event loop; `soon` calls a
    function in the next turn of the loop.
    `write_buffer` bounds the bytes of one joined write; `slow` says what becomes of readers that
    are behind.
    """

    def __init__(
        self,
        log: Log,
        retention: Retention | None = None,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
        write_buffer: int = limits.WRITE_BUFFER,
        slow: Rules[SlowPolicy] | None = None,
    ) -> None:
        self.log = log
        self.history = History(retention)
        self.position = 0
        # Seconds by which the event loop is late; whoever owns the loop measures it.
        self.lag = 0.0
        self.stats = Stats()
        # What was answered since the last message, by what was asked: equal questions share one rendering.
        self._shared: dict[Hashable, tuple[Any, int]] = {}
        self._clock = clock
        self._monotonic = monotonic
        self._soon = soon
        self._write_buffer = write_buffer
        self._slow = slow or Rules((), SlowPolicy.RESUME)
        self._cohorts: dict[Hashable, Cohort] = {}
        # Cohorts by channel; a dict, because its order is the order of joining.
        self._by_channel: dict[str, dict[Cohort, None]] = {}
        # What has been written to whoever is paused right now: during a walk the end of the chunk
        # that is being written, else `position`.
        self._written = 0
        # Subscribers that are ahead of this node, and those that were refilled as much as one turn allows.
        self._ahead: dict[Subscriber, None] = {}
        self._refilling: dict[Subscriber, None] = {}

    # --- the way of a message ---------------------------------------------------------------

    def publish(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """Append `drafts` to the log; see Log.append. They are delivered when `follow` brings them."""
        self.stats.published += len(drafts)
        return self.log.append(drafts)

    async def run(self) -> None:
        """Deliver what the log brings until it is closed. The owner awaits or cancels it."""
        async for messages in self.log.follow(self.position):
            self.deliver(messages)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Keep `messages`, which follow all that came before, and write them to everyone live.

        What one turn of the loop brought goes out joined: one write for each subscriber.
        """
        touched: dict[Cohort, list[Message]] = {}
        for message in messages:
            self.history.append(message)
            for cohort in self._by_channel.get(message.channel, ()):
                # By cohort and in order of position, not channel by channel: a cut between two
                # writes must not leave a client a cursor ahead of messages that it never had.
                touched.setdefault(cohort, []).append(message)
        self.position = self._written = messages[-1].position
        self._shared.clear()
        for cohort, its_messages in touched.items():
            if not cohort.members:
                continue  # the last one left while others were written to
            if cohort.once:
                self._answer(cohort, its_messages)
            else:
                self._walk(cohort, its_messages)
        if self._ahead:
            for subscriber in [s for s in self._ahead if not self._is_ahead(s)]:
                del self._ahead[subscriber]
                if subscriber.once:
                    _write_each((subscriber.write,), None)
                else:
                    self.refill(subscriber)

    def trim(self) -> None:
        """Drop what is too old. Called every second or so."""
        self.history.trim(int(self._clock() * 1000))
        self._shared.clear()

    def pace(self, channels: tuple[str, ...]) -> float:
        """Return the seconds between the last few messages on `channels`, the time since included.

        Infinite where there is none.
        """
        times = self.history.last_times(channels, _PACED)
        return (self._clock() - times[0] / 1000) / len(times) if times else math.inf

    def share(self, question: Hashable, answer: object, count: int) -> None:
        """Give `answer`, which tells `count` messages, to all who ask `question` before the next message."""
        if len(self._shared) >= _SHARED:
            self._shared.clear()
        self._shared[question] = answer, count

    def shared(self, question: Hashable) -> Any:
        """Return the answer that was shared for `question`, or None."""
        found = self._shared.get(question)
        if found is None:
            return None
        self.stats.delivered += found[1]
        return found[0]

    def _walk(self, cohort: Cohort, messages: list[Message]) -> None:
        for chunk in _chunks(messages, self._write_buffer):
            data = cohort.rendering.messages(chunk)
            self.stats.renderings += 1
            # Whoever pushes back now has this chunk and no more.
            self._written = chunk[-1].position
            cohort.written_at = self._monotonic()
            writes = tuple(cohort.members.values())
            self.stats.writes += len(writes)
            self.stats.delivered += len(writes) * len(chunk)
            _write_each(writes, data)
        self._written = self.position

    def _answer(self, cohort: Cohort, messages: list[Message]) -> None:
        """Write one batch to subscribers that wait for nothing more, and forget them first."""
        members, cohort.members = cohort.members, {}
        self._disband(cohort)
        for subscriber in members:
            subscriber.cohort = None
        self.stats.renderings += 1
        self.stats.writes += len(members)
        self.stats.delivered += len(members) * len(messages)
        _write_each(tuple(members.values()), cohort.rendering.messages(messages))

    # --- where a client stands --------------------------------------------------------------

    def cursor(self, position: int) -> str:
        """Return the text of a position in this life of the log."""
        return cursors.encode(Cursor(self.log.epoch, position))

    def locate(self, channels: tuple[str, ...], start: Start) -> Place:
        """Return where a client begins that asks for `channels` from `start`."""
        if isinstance(start, After):
            return self._after(channels, start)
        if isinstance(start, Now):
            return Place(self.position, self.cursor(self.position))
        if isinstance(start, Earliest):
            position = min(self.history.lost_through(channel) for channel in channels)
        elif isinstance(start, RewindCount):
            position = self.history.before_last(channels, start.count)
        else:
            position = self.history.before_time(channels, int((self._clock() - start.seconds) * 1000))
        # Asked for as much as there is, so what there is no more is no gap.
        return Place(position, self.cursor(position), self._lost(channels, position))

    def _lost(self, channels: Iterable[str], position: int) -> dict[str, int] | None:
        return {c: lost for c in channels if (lost := self.history.lost_through(c)) > position} or None

    def _after(self, channels: tuple[str, ...], start: After) -> Place:
        cursor = start.cursor
        if cursor is not None and cursor.epoch == self.log.epoch and cursor.position <= self.log.head:
            return Place(cursor.position, start.text)
        if cursor is None:
            reason = GapReason.CURSOR
        elif cursor.epoch != self.log.epoch:
            reason = GapReason.EPOCH
        else:
            reason = GapReason.AHEAD
        # All of this life follows a cursor of another life, or one that says nothing. A cursor from
        # the future has all there is.
        position = self.position if reason is GapReason.AHEAD else 0
        gaps = [
            Gap(c, start.text, Cursor(self.log.epoch, max(position, self.history.lost_through(c))), reason)
            for c in channels
        ]
        self.stats.gaps += len(gaps)
        floors = self._lost(channels, position)
        if floors is not None and len(floors) == len(channels):
            position = min(floors.values())
        return Place(position, None if cursor is None else start.text, floors, gaps)

    def read(self, channels: tuple[str, ...], place: Place, limit: int, most_bytes: int) -> Slice:
        """Return what follows `place`; what of it is lost is added to the place's gaps."""
        found = self.history.read(
            channels,
            place.position,
            limit=limit,
            most_bytes=most_bytes,
            floors=place.floors,
            newest_only=self._newest_only(channels),
        )
        if found.losses:
            place.gaps.extend(self._gaps(found))
        return found

    def _newest_only(self, channels: tuple[str, ...]) -> Collection[str]:
        """Return the channels whose readers, when they are behind, are told only the newest per key."""
        return [c for c in channels if self._slow.of(c) is SlowPolicy.LATEST] if self._slow else ()

    def closes_slow(self, channels: tuple[str, ...]) -> bool:
        """Whether a subscriber of `channels` is closed when it is behind, rather than refilled."""
        return any(self._slow.of(channel) is SlowPolicy.CLOSE for channel in channels)

    def end_of(self, channels: tuple[str, ...], place: Place, found: Slice) -> int:
        """Return the position to hand to a client that was given `found`.

        With nothing found it is the last message of its channels, wherever the log has gone on
        others, so that all who have everything stand at the same place (spec §5.1).
        """
        if found.messages:
            return found.messages[-1].position
        return place.position if place.position > self.position else self.history.tail(channels)

    def _gaps(self, found: Slice) -> list[Gap]:
        epoch = self.log.epoch
        self.stats.gaps += len(found.losses)
        return [
            Gap(loss.channel, self.cursor(loss.after), Cursor(epoch, loss.resumed), GapReason.RETENTION)
            for loss in found.losses
        ]

    # --- who listens ------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber, place: Place) -> None:
        """Begin to write to `subscriber` what follows `place`, whose gaps it has been told."""
        subscriber.position = place.position
        subscriber.floors = place.floors
        self.refill(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Write nothing more to `subscriber`, and keep its position. Harmless when repeated."""
        self._ahead.pop(subscriber, None)
        self._refilling.pop(subscriber, None)
        self._leave(subscriber, self._written)

    def pause(self, subscriber: Subscriber) -> None:
        """Stop writing: its connection pushes back. It keeps its place."""
        subscriber.paused = True
        self._leave(subscriber, self._written)

    def resume(self, subscriber: Subscriber) -> None:
        """Go on where the pause began, from the history, until it is live again."""
        subscriber.paused = False
        self.refill(subscriber)

    def written(self, subscriber: Subscriber) -> int:
        """Return the position up to which `subscriber` has been written everything."""
        return subscriber.position if subscriber.cohort is None else self._written

    def change_channels(
        self, subscriber: Subscriber, channels: tuple[str, ...], place: Place | None = None
    ) -> None:
        """Make `channels` what `subscriber` hears; what is new among them begins at `place`.

        Its one position becomes the earlier of both, with floors for the channels that are further.
        """
        old = subscriber.channels
        self.unsubscribe(subscriber)
        floors = dict(subscriber.floors or {})
        if place is not None:
            position = min(subscriber.position, place.position) if old else place.position
            for channel in channels:
                if channel in old:
                    floors[channel] = max(floors.get(channel, 0), subscriber.position)
                else:
                    floors[channel] = max((place.floors or {}).get(channel, 0), place.position)
            subscriber.position = position
        subscriber.channels = channels
        subscriber.floors = {
            c: f for c, f in floors.items() if c in channels and f > subscriber.position
        } or None
        self.refill(subscriber)

    def refill(self, subscriber: Subscriber) -> None:
        """Write what follows the subscriber's position, at most four chunks a turn; at the head it joins."""
        for _ in range(4):
            if subscriber.paused:
                return
            if self._is_ahead(subscriber):
                self._ahead[subscriber] = None
                return
            chunk = self._chunk(subscriber)
            if chunk is None:
                self._join(subscriber)
                return
            data, end, count = chunk
            subscriber.position = end
            self.stats.writes += 1
            self.stats.delivered += count
            subscriber.write(data)
        if not self._refilling:
            self._soon(self._refill_on)
        self._refilling[subscriber] = None

    def _chunk(self, subscriber: Subscriber) -> "tuple[bytes, int, int] | None":
        """Return what follows the subscriber's position: bytes, where they end, how many messages.

        None when it has everything. Those that come back to the same place share a rendering.
        """
        question = (subscriber.rendering, subscriber.channels, subscriber.position)
        if subscriber.floors is None and (shared := self._shared.get(question)) is not None:
            known: tuple[bytes, int, int] = shared[0]
            return known
        found = self.history.read(
            subscriber.channels,
            subscriber.position,
            limit=limits.ANSWER_MESSAGES,
            most_bytes=self._write_buffer // 2,
            floors=subscriber.floors,
            newest_only=self._newest_only(subscriber.channels),
        )
        if not found.messages and not found.losses:
            return None
        parts = []
        if found.losses:
            parts.append(subscriber.rendering.gaps(self._gaps(found), self.cursor(subscriber.position)))
        if found.messages:
            parts.append(subscriber.rendering.messages(found.messages))
            self.stats.renderings += 1
        end = found.messages[-1].position if found.more else self.position
        chunk = (b"".join(parts), end, len(found.messages))
        if found.losses:
            # Told once: the next chunk must not find the same loss again.
            told = {loss.channel: loss.resumed for loss in found.losses}
            subscriber.floors = {**(subscriber.floors or {}), **told}
        elif subscriber.floors is None:
            self.share(question, chunk, 0)
        return chunk

    def now(self) -> float:
        """Return the time in seconds on a clock that only goes forward."""
        return self._monotonic()

    def quiet_for(self, subscriber: Subscriber) -> float:
        """Return for how many seconds a live subscriber was written nothing; infinite if it is not live."""
        cohort = subscriber.cohort
        return math.inf if cohort is None else self._monotonic() - cohort.written_at

    def is_behind(self, subscriber: Subscriber) -> bool:
        """Whether there is something that was delivered and has not been written to `subscriber`."""
        return subscriber.cohort is None and bool(subscriber.channels) and subscriber.position < self.position

    def _is_ahead(self, subscriber: Subscriber) -> bool:
        """Whether it comes from a node that has followed further than this one."""
        return max(subscriber.position, *(subscriber.floors or {}).values(), 0) > self.position

    def _refill_on(self) -> None:
        waiting, self._refilling = self._refilling, {}
        for subscriber in waiting:
            self.refill(subscriber)

    def _join(self, subscriber: Subscriber) -> None:
        if not subscriber.channels:
            return
        key = (subscriber.channels, subscriber.rendering, subscriber.once)
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = Cohort(subscriber.channels, subscriber.rendering, once=subscriber.once, key=key)
            self._cohorts[key] = cohort
            for channel in cohort.channels:
                self._by_channel.setdefault(channel, {})[cohort] = None
        cohort.members[subscriber] = subscriber.write
        subscriber.cohort = cohort
        subscriber.floors = None

    def _leave(self, subscriber: Subscriber, position: int) -> None:
        cohort = subscriber.cohort
        if cohort is None:
            return
        subscriber.cohort = None
        subscriber.position = position
        del cohort.members[subscriber]
        if not cohort.members:
            self._disband(cohort)

    def _disband(self, cohort: Cohort) -> None:
        del self._cohorts[cohort.key]
        for channel in cohort.channels:
            its_cohorts = self._by_channel[channel]
            del its_cohorts[cohort]
            if not its_cohorts:
                del self._by_channel[channel]

    # --- figures ----------------------------------------------------------------------------

    @property
    def live(self) -> int:
        """Subscribers that are in a cohort now."""
        return sum(len(cohort.members) for cohort in self._cohorts.values())

    @property
    def cohorts(self) -> int:
        """Cohorts that have members now."""
        return len(self._cohorts)


def _chunks(messages: list[Message], most_bytes: int) -> list[list[Message]]:
    """Cut `messages` so that none of the joined writes is much longer than `most_bytes`."""
    chunks: list[list[Message]] = []
    room = 0
    for message in messages:
        size = len(message.data) + 150  # and its envelope
        if size > room:
            chunks.append([])
            room = most_bytes
        chunks[-1].append(message)
        room -= size
    return chunks


def _write_each(writes: Iterable[Callable[[Any], object]], data: Any) -> None:
    """Call each of `writes` with `data`. One that fails never stops the walk, and costs it nothing else."""
    rest = iter(writes)
    while True:
        try:
            for write in rest:
                write(data)
            return
        except Exception:
            # uvloop raises where asyncio warns when a transport has just closed; its
            # connection_lost follows and takes the subscriber out. The iterator goes on behind it.
            _log.debug("a write to a closing connection failed", exc_info=True)
