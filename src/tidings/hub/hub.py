"""Channels, subscribers, fan-out: the one delivery path.

    log.follow → deliver → history → every cohort's bytes → every subscriber's write

What else the log may bring changes what there is to deliver: a life begins (begin), or a part of it cannot
be had any more (lose).

Owns: who hears what from where, and the order in which it is written. Does not own: numbering
(logs/), bytes (wire/), connections and timers (server/), what a transport says around messages (transports/).

The live cohort. Subscribers that have everything on the same set of channels, and are told it in the
same bytes, are one cohort: no cursor, task, queue or timer of their own, only a `write`. A batch is
rendered once for the cohort, joined, and written to each in turn.

Laggards. A subscriber whose connection pushes back leaves its cohort with a position; when the
connection takes bytes again it is refilled from the history, in bounded chunks, until it is live again.

Another life. Whoever was told something of the last one is told to come back, which it does with its
cursor: the same event as a deploy, and one way to tell a gap (transports' `drain`).

Invariant: a subscriber in a cohort has been written everything on its channels up to `position`;
between two calls into the hub nothing that was delivered waits to be written to a live subscriber.
"""

import math
import os
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.history import History, Retention
from tidings.core.message import Draft, Hole, Life, Message, Receipt
from tidings.core.patterns import Rules, SlowPolicy
from tidings.hub.arrivals import Arrivals
from tidings.hub.cohorts import Cohort, Cohorts, Subscriber, send_each, write_each
from tidings.hub.places import Place, Places
from tidings.hub.shared import SharedAnswers
from tidings.hub.stats import Stats
from tidings.logs.base import Log

_CHUNKS_A_TURN: Final = 4  # to one subscriber that catches up, before others have their turn


class _Chunk(NamedTuple):
    """What a subscriber that catches up is written at once: bytes, where they end, how many messages."""

    data: bytes
    end: int
    told: int


class Hub:
    """Fans one log out to subscribers. All methods but `run` return at once.

    `clock` returns seconds since the Unix epoch, `monotonic` those of the event loop; `soon` calls a
    function in the next turn of the loop.
    `send` writes bytes to a descriptor and returns how many it took, as `os.write` does.
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
        send: Callable[[int, bytes], int] = os.write,
        write_buffer: int = limits.WRITE_BUFFER,
        slow: Rules[SlowPolicy] | None = None,
    ) -> None:
        self.stats = Stats()
        self.shared = SharedAnswers()
        self.closing = False
        # Seconds by which the event loop is late again and again; whoever owns the loop measures it.
        self.lag = 0.0
        self.history = History(retention, log.numbering.partition)
        self.cohorts = Cohorts()
        slow = slow or Rules((), SlowPolicy.RESUME)
        self.places = Places(log, self.history, self.stats, clock=clock, slow=slow)
        self.arrivals = Arrivals(log, self.places, monotonic)
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._soon = soon
        self._send = send
        self._write_buffer = write_buffer
        # What has been written to whoever is paused right now: during a walk the end of the chunk
        # that is being written, else `position`.
        self._written = 0
        # Who is not live: ahead of this node, refilled as much as one turn allows, or paused.
        self._ahead: dict[Subscriber, None] = {}
        self._refilling: dict[Subscriber, None] = {}
        self._paused: dict[Subscriber, None] = {}

    @property
    def position(self) -> int:
        """How far the log was followed: the position of the last message that was delivered."""
        return self.places.position

    # --- the way of a message ---------------------------------------------------------------

    def publish(self, drafts: Sequence[Draft]) -> "Future[list[Receipt]]":
        """Append `drafts` to the log; see Log.append. They are delivered when `follow` brings them.

        Raises Refusal `shutting_down` once `closing` is set: what was acknowledged then might not be heard.
        """
        if self.closing:
            again = "Publish again, with the same idempotency key."
            raise Refusal("shutting_down", again)
        self.stats.published += len(drafts)
        return self._log.append(drafts)

    async def run(self) -> None:
        """Deliver what the log brings until it is closed. The owner awaits or cancels it."""
        async for batch in self._log.follow():
            if isinstance(batch, Life):
                self.begin(batch)
            elif isinstance(batch, Hole):
                (self.lose if batch.ours else self.pass_over)(batch)
            else:
                self.deliver(batch)

    def begin(self, life: Life) -> None:
        """Come into a life of the log. Who was told of another is told to come back with its cursor."""
        strangers = [*self.cohorts.dismiss_all(), *self._paused, *self._ahead, *self._refilling]
        for waiting in (self._paused, self._ahead, self._refilling):
            waiting.clear()
        self.history.begin(life.lost_through, life.marks)
        self.shared.clear()
        self.places.begin(life)
        self._written = self.position
        self.arrivals.begin()
        self.stats.lives += 1
        for subscriber in strangers:
            subscriber.channels = ()  # nothing of this life may be written to it
            subscriber.floors = None
            subscriber.drain(int(limits.DRAIN * 1000), "moved")

    def pass_over(self, hole: Hole) -> None:
        """Go on behind `hole`: what lies there is no message, so everyone live has everything."""
        self.places.position = self._written = max(self.position, hole.through)
        self._arrive()

    def lose(self, hole: Hole) -> None:
        """Go on behind `hole`: what lay there cannot be had, and who listens to its partition is told so."""
        before, listening = self.position, self.cohorts.dismiss_all()
        self.history.lose(hole.through, hole.partition)
        self.shared.clear()
        self.places.position = self._written = max(before, hole.through)
        for subscriber in listening:
            subscriber.position = before
            if not subscriber.once:
                self.refill(subscriber)  # and is live again at once where nothing of its own was lost
            elif any(self.history.lost_through(channel) > before for channel in subscriber.channels):
                write_each((subscriber,), None)
            else:
                self.cohorts.join(subscriber)
        self._arrive()

    def deliver(self, messages: Sequence[Message]) -> None:
        """Keep `messages`, which follow all that came before, and write them to everyone live.

        What one turn of the loop brought goes out joined: one write for each subscriber.
        """
        for message in messages:
            self.history.append(message)
        # While a life is come into, it may stand behind what is still being brought (Places.begin).
        self.places.position = self._written = max(messages[-1].position, self.position)
        self.shared.clear()
        for cohort, its_messages in self.cohorts.touched_by(messages).items():
            if not cohort.members:
                continue  # the last one left while others were written to
            if cohort.once:
                self._answer(cohort, its_messages)
            else:
                self._walk(cohort, its_messages)
        self._arrive()

    def _arrive(self) -> None:
        """Go on with those that this node has caught up with."""
        if self._ahead:
            for subscriber in [s for s in self._ahead if not self._is_ahead(s)]:
                del self._ahead[subscriber]
                if subscriber.once:
                    write_each((subscriber,), None)
                else:
                    self.refill(subscriber)
        if self.arrivals.waiting:
            self.arrivals.look()

    def trim(self) -> None:
        """Drop what is too old. Called every second or so."""
        self.history.trim(int(self._clock() * 1000))
        self.shared.clear()
        self.arrivals.expire()

    def _walk(self, cohort: Cohort, messages: list[Message]) -> None:
        for chunk in _chunks(messages, self._write_buffer):
            data = cohort.rendering.messages(self.places.told(chunk, cohort.channels))
            self.stats.renderings += 1
            # Whoever pushes back now has this chunk and no more.
            self._written = chunk[-1].position
            cohort.written_at = self._monotonic()
            if cohort.direct:
                writes = send_each(cohort, data, self._send)
            else:
                members = tuple(cohort.members.values())
                writes = len(members)
                write_each(members, data)
            self.stats.writes += writes
            self.stats.delivered += writes * len(chunk)
        self._written = self.position

    def _answer(self, cohort: Cohort, messages: list[Message]) -> None:
        """Write one batch to subscribers that wait for nothing more, and forget them first."""
        members = self.cohorts.dismiss(cohort)
        self.stats.renderings += 1
        self.stats.writes += len(members)
        self.stats.delivered += len(members) * len(messages)
        write_each(members, cohort.rendering.messages(self.places.told(messages, cohort.channels)))

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
        self._paused.pop(subscriber, None)
        self.cohorts.leave(subscriber, self._written)

    def pause(self, subscriber: Subscriber) -> None:
        """Stop writing: its connection pushes back. It keeps its place."""
        subscriber.paused = True
        if subscriber.channels:
            self._paused[subscriber] = None
        # Else its turn would come when it has gone on already, perhaps is live and has no position.
        self._refilling.pop(subscriber, None)
        self.cohorts.leave(subscriber, self._written)

    def resume(self, subscriber: Subscriber) -> None:
        """Go on where the pause began, from the history, until it is live again."""
        subscriber.paused = False
        self._paused.pop(subscriber, None)
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
        """Write what follows the subscriber's position, a few chunks a turn; at the head it is live."""
        for _ in range(_CHUNKS_A_TURN):
            if subscriber.paused:
                return
            if self._is_ahead(subscriber):
                self._ahead[subscriber] = None
                return
            chunk = self._chunk(subscriber)
            if chunk is None:
                self.cohorts.join(subscriber)
                return
            subscriber.position = chunk.end
            self.stats.writes += 1
            self.stats.delivered += chunk.told
            subscriber.write(chunk.data)
        if not self._refilling:
            self._soon(self._refill_on)
        self._refilling[subscriber] = None

    def _chunk(self, subscriber: Subscriber) -> _Chunk | None:
        """Return what follows the subscriber's position, or None when it has everything.

        Those that come back to the same place share a rendering.
        """
        channels, position, rendering = subscriber.channels, subscriber.position, subscriber.rendering
        question = (rendering, channels, position)
        shared: _Chunk | None = self.shared.get(question) if subscriber.floors is None else None
        if shared is not None:
            return shared
        most_bytes = self._write_buffer // 2
        found = self.places.follow(channels, position, subscriber.floors, limits.ANSWER_MESSAGES, most_bytes)
        if not found.messages and not found.losses:
            return None
        parts = []
        if found.losses:
            gaps = self.places.gaps(found.losses, channels)
            parts.append(rendering.gaps(gaps, self.places.cursor(position, channels, subscriber.floors)))
        if found.messages:
            parts.append(rendering.messages(self.places.told(found.messages, channels, subscriber.floors)))
            self.stats.renderings += 1
        end = found.messages[-1].position if found.more else self.position
        chunk = _Chunk(b"".join(parts), end, len(found.messages))
        if found.losses:
            # Told once: the next chunk must not find the same loss again.
            told = {loss.channel: loss.resumed for loss in found.losses}
            subscriber.floors = {**(subscriber.floors or {}), **told}
        elif subscriber.floors is None:
            self.shared.put(question, chunk)
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
