"""The checker: holds what everyone wrote down against each other, and against the promises.

Owns: what is right (docs: spec §1, §3, §5, §6). Does not own: the evidence (book.py). It reads the
protocol for itself, apart from subscribers.py: a client that misread it would be found out here.
Invariant: `check` only reads; what it returns is complete but for a cap, and empty only when every
promise was kept.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any

from exactness.book import Book, Cursor, Entry, Session, cursor_of

_ANY_TIME = 1 << 60
_MOST = 40  # faults that are told; the first ones matter
_IN_FLIGHT = 30  # what may have been taken in one turn, and not acknowledged
_SLACK_MS = 50  # between two clocks of one machine, which are the same


@dataclass(frozen=True)
class Retention:
    """What the server was told to keep: messages a channel, and seconds.

    Where the log is `cut` at its beginning only, a node that starts does not know what each channel lost
    there, and tells a gap up to that place to whoever comes from before it.
    """

    count: int
    age: float
    cut: bool = False


class Log:
    """The log of each epoch as everyone together saw it."""

    def __init__(self, book: Book, retention: Retention) -> None:
        self.entries: dict[Cursor, Entry] = {cursor_of(text): entry for text, entry in book.entries.items()}
        self._retention = retention
        self._positions: dict[tuple[str, str], list[int]] = {}
        self._unseen: dict[tuple[str, str], int] = {}
        self._all: dict[str, list[int]] = {}
        self._times: dict[tuple[str, str], list[int]] = {}
        for cursor in sorted(self.entries, key=lambda c: c.position):
            entry = self.entries[cursor]
            self._positions.setdefault((cursor.epoch, entry.channel), []).append(cursor.position)
            self._all.setdefault(cursor.epoch, []).append(cursor.position)
            self._times.setdefault((cursor.epoch, entry.channel), []).append(entry.time_ms)
        # What a killed life took with it: nobody saw it, and the window was pushed by it all the same.
        for sent in book.sent.values():
            for ids, *_ in sent.acks:
                for channel, text in ids.items():
                    if text not in book.entries:
                        at = cursor_of(text).epoch, channel
                        self._unseen[at] = self._unseen.get(at, _IN_FLIGHT) + 1

    def between(self, channel: str, epoch: str, after: int, through: int) -> list[int]:
        """Return the positions of `channel` behind `after` up to `through`."""
        positions = self._positions.get((epoch, channel), [])
        return positions[bisect_right(positions, after) : bisect_right(positions, through)]

    def is_superseded(self, channel: str, epoch: str, position: int) -> bool:
        """Whether a reader that is behind need not be told the message, as its key has a newer value."""
        if not channel.startswith("state."):
            return False
        key = self.entries[Cursor(epoch, position)].key
        positions = self._positions[epoch, channel]
        newer = positions[bisect_right(positions, position) :]
        return key is not None and any(self.entries[Cursor(epoch, one)].key == key for one in newer)

    def may_be_lost(self, channel: str, epoch: str, position: int, at_ms: int) -> bool:
        """Whether the message at `position` may have left the window at the time `at_ms`."""
        positions, times = self._positions[epoch, channel], self._times[epoch, channel]
        index = bisect_left(positions, position)
        newer = bisect_right(times, at_ms + _SLACK_MS) - index - 1 + self._unseen.get((epoch, channel), 0)
        age_ms = at_ms - times[index]
        return newer >= self._retention.count or age_ms >= self._retention.age * 1000 - _SLACK_MS

    def may_be_cut(self, epoch: str, through: int, at_ms: int) -> bool:
        """Whether the log may begin behind position `through` at the time `at_ms`."""
        positions = self._all.get(epoch, [])
        index = bisect_right(positions, through) - 1
        if not self._retention.cut or index < 0:
            return self._retention.cut
        age_ms = at_ms - self.entries[Cursor(epoch, positions[index])].time_ms
        return age_ms >= self._retention.age * 1000 - _SLACK_MS

    def tell(self, channel: str, epoch: str, around: list[int]) -> str:
        """Return the messages of `channel` around some positions, for people."""
        positions = self._positions.get((epoch, channel), [])
        first = max(0, bisect_left(positions, around[0]) - 4)
        last = bisect_right(positions, around[-1]) + 4
        shown = positions[first:last]
        if len(shown) > 30:
            shown = [*shown[:15], *shown[-15:]]
        marked = set(around)
        return " ".join(f"[{p}]" if p in marked else str(p) for p in shown)


def check(book: Book, retention: Retention, *, may_refuse: bool = False) -> list[str]:
    """Return every broken promise as a text for people.

    `may_refuse` is whether one message may be refused and the next one on the same connection taken: then
    what is sent again stands behind what was not refused.
    """
    faults = list(book.broken)
    log = Log(book, retention)
    faults += _epochs(book)
    faults += _undisturbed(book, log)
    faults += _publishing(book, log, may_refuse=may_refuse)
    for sessions in book.sessions.values():
        faults += Replay(book, log, sessions).faults
        if len(faults) > _MOST:
            faults = [*faults[:_MOST], "… and more"]
            break
    return faults


def _epochs(book: Book) -> list[str]:
    faults = []
    if len(set(book.epochs)) != len(book.epochs):
        faults.append(f"two lives of the server have one epoch: {book.epochs}")
    for text, entry in book.entries.items():
        if cursor_of(text).epoch not in book.truth:
            faults.append(f"{entry.first_seen_by} was sent {text}, of an epoch that no life had")
    return faults


def _undisturbed(book: Book, log: Log) -> list[str]:
    """The undisturbed subscriber loses nothing that need not have left the window when it was told so."""
    faults = []
    for gap, at_ms in book.pushed_out:
        channel, resumed = gap["channel"], cursor_of(gap["resumed"])
        lost = log.between(channel, resumed.epoch, max(cursor_of(gap["after"]).position, 0), resumed.position)
        if not lost or not log.may_be_lost(channel, resumed.epoch, lost[-1], at_ms):
            faults.append(f"the undisturbed subscriber, which reads at once, was told {gap}")
    return faults


def _publishing(book: Book, log: Log, *, may_refuse: bool) -> list[str]:
    """Every acknowledgement is true, once a key, and in the publisher's order."""
    faults = []
    # The log's own view: each message was sent, and stands once in an epoch.
    stands: dict[tuple[str, str, str, int], Cursor] = {}
    latest: dict[tuple[str, str], tuple[int, Cursor]] = {}
    for cursor in sorted(log.entries):
        entry = log.entries[cursor]
        sent = book.sent.get((entry.publisher, entry.number))
        if sent is None or (entry.channel, entry.data, entry.key) not in [
            (channel, sent.data, sent.state) for channel in sent.channels
        ]:
            faults.append(f"{cursor} on {entry.channel} is not what {entry.publisher} sent as {entry.number}")
            continue
        name = (cursor.epoch, entry.channel, entry.publisher, entry.number)
        if name in stands:
            faults.append(
                f"{entry.publisher} {entry.number} (key {sent.key}) stands twice on {entry.channel}: "
                f"as {stands[name]} and as {cursor}"
            )
        stands[name] = cursor
        number, where = latest.get((cursor.epoch, entry.publisher), (0, cursor))
        if entry.number < number and not (may_refuse and sent.attempts > 1):
            faults.append(
                f"{entry.publisher} sent {entry.number} before {number}, but they are {cursor} and {where}"
            )
        latest[cursor.epoch, entry.publisher] = max((number, where), (entry.number, cursor))
    # The publishers' view: what was acknowledged stands at its place.
    acks: list[tuple[float, float, Cursor, str]] = []
    for sent in book.sent.values():
        for ids, duplicate, began, answered in sent.acks:
            for channel, text in ids.items():
                faults += _acknowledged(book, log, sent.publisher, sent.number, channel, text)
                known = stands.get((cursor_of(text).epoch, channel, sent.publisher, sent.number))
                if known is not None and str(known) != text:
                    faults.append(
                        f"{sent.publisher} {sent.number} was acknowledged as {text}, stands as {known}"
                    )
                # Of several channels some may have been kept by a try that failed as a whole: these stand
                # where that try put them, and the answer says `duplicate` only when all do.
                partly = len(sent.channels) > 1 and sent.attempts > 1
                if not duplicate and not partly:
                    acks.append((began, answered, cursor_of(text), f"{sent.publisher} {sent.number}"))
        first = [cursor_of(min(ids.values())).epoch for ids, duplicate, _, _ in sent.acks if not duplicate]
        if len(set(first)) != len(first) or (
            sent.attempts <= 1 and any(duplicate for _, duplicate, _, _ in sent.acks)
        ):
            faults.append(
                f"{sent.publisher} {sent.number} sent {sent.attempts} times was answered {sent.acks}"
            )
    return faults + _real_time(acks)


def _acknowledged(book: Book, log: Log, publisher: str, number: int, channel: str, text: str) -> list[str]:
    cursor = cursor_of(text)
    if any(
        (epoch, its) == (cursor.epoch, channel) and after < cursor.position <= through
        for epoch, its, after, through in book.unheard
    ):
        return []
    entry = log.entries.get(cursor)
    who = f"{publisher} {number}, acknowledged as {text} on {channel},"
    if entry is None:
        heard = book.truth.get(cursor.epoch)
        if heard is None:
            return [f"{who} is of an epoch that no life had"]
        # Behind the last thing that the truth heard a life may have ended with a kill.
        # A value that had a newer one before anyone came to hear it is told to nobody.
        unheard = channel.startswith("state.") and log.between(
            channel, cursor.epoch, cursor.position, heard[-1] if heard else 0
        )
        if heard and cursor.position < heard[-1] and not unheard:
            return [f"{who} is not in the log, which goes to {heard[-1]}"]
        return []
    if (entry.publisher, entry.number, entry.channel) != (publisher, number, channel):
        return [f"{who} is {entry.publisher} {entry.number} on {entry.channel} in the log"]
    heard = book.truth[cursor.epoch]
    index = bisect_left(heard, cursor.position)
    superseded = log.is_superseded(channel, cursor.epoch, cursor.position)
    if heard and cursor.position < heard[-1] and heard[index] != cursor.position and not superseded:
        return [f"{who} was never sent to the undisturbed subscriber, which heard up to {heard[-1]}"]
    return []


def _real_time(acks: list[tuple[float, float, Cursor, str]]) -> list[str]:
    """What was first sent after another message's acknowledgement stands behind it."""
    faults = []
    by_epoch: dict[str, list[tuple[float, float, Cursor, str]]] = {}
    for ack in acks:
        by_epoch.setdefault(ack[2].epoch, []).append(ack)
    for its_acks in by_epoch.values():
        answered = sorted(its_acks, key=lambda ack: ack[1])
        began = sorted(its_acks, key=lambda ack: ack[0])
        index, highest, whose = 0, 0, ""
        for start, _, cursor, who in began:
            while index < len(answered) and answered[index][1] < start:
                if answered[index][2].position > highest:
                    highest, whose = answered[index][2].position, answered[index][3]
                index += 1
            if cursor.position < highest:
                faults.append(
                    f"{who} was sent after {whose} was acknowledged as {highest}, but stands as {cursor}"
                )
    return faults


@dataclass
class _Have:
    """How far one channel is known to one client: everything up to `cursor` came, or was told as lost.

    Messages up to `skips_until_ms` may be missing before the first one that came: the client began in
    between.
    """

    cursor: Cursor
    skips_until_ms: int = 0


@dataclass
class _Asked:
    """A `subscribe` that was not yet answered."""

    channels: tuple[str, ...]
    start: dict[str, Any]
    told: dict[str, _Have] = field(default_factory=dict)


class Replay:
    """One subscriber's connections once more, by the spec; `faults` say where the record breaks a promise."""

    def __init__(self, book: Book, log: Log, sessions: list[Session]) -> None:
        self.faults: list[str] = []
        self._book = book
        self._log = log
        self._have: dict[str, _Have] = {}
        self._before: Session | None = None
        for session in sessions:
            self._session(session)
            self._before = session

    def _fault(self, what: str, around: tuple[str, str, list[int]] | None = None) -> None:
        events = self._current.events
        first = max(0, self._index - 8)
        shown = "\n".join(
            f"    {'→' if number == self._index else ' '} {event}"
            for number, event in enumerate(events[first : self._index + 4], first)
        )
        text = f"{self._current}: {what}\n{shown}"
        if around is not None:
            channel, epoch, positions = around
            text += f"\n    {channel} in the log: {self._log.tell(channel, epoch, positions)}"
        if self._before is not None:
            text += f"\n    before it: {self._before}, which ended {self._before.events[-2:]}"
        self.faults.append(text)
        # One fault a connection: what follows from it is not told.
        self._spoiled = True

    # --- one connection --------------------------------------------------------------------------

    def _session(self, session: Session) -> None:
        self._current = session
        self._index = 0
        self._spoiled = False
        self._channels = set(session.channels)
        self._asked: dict[object, _Asked] = {}
        self._cursor = cursor_of(session.after) if session.after else None
        self._last: Cursor | None = self._cursor
        self._limit: int | None = None
        self._messages = 0
        before = self._have
        self._have = {}
        if self._cursor is not None:
            for channel in self._channels:
                had = before.get(channel)
                # The cursor that the client comes back with says that it has everything up to it.
                if had is not None:
                    self._check_reached(channel, had, self._cursor)
                self._have[channel] = _Have(self._cursor)
        for self._index, event in enumerate(session.events):
            getattr(self, f"_{event[0]}")(*event[1:])
            if self._spoiled:
                self._have = {}
                return
        if self._cursor is None:
            self._have = {}

    def _check_reached(self, channel: str, had: _Have, cursor: Cursor) -> None:
        """Check that nothing of `channel` is missing up to `cursor`, which the client holds."""
        if had.cursor.epoch != cursor.epoch:
            # Told of the new epoch, and cut before a message: the old cursor is asked with again.
            if self._is_newer(cursor.epoch, had.cursor.epoch):
                self._fault(
                    f"the cursor is {cursor}, but {channel} stands at {had.cursor}: no gap told of the epoch"
                )
            return
        missing = [
            position
            for position in self._log.between(channel, cursor.epoch, had.cursor.position, cursor.position)
            if self._log.entries[Cursor(cursor.epoch, position)].time_ms > had.skips_until_ms
            and not self._log.is_superseded(channel, cursor.epoch, position)
        ]
        if missing:
            self._fault(
                f"a hole on {channel}: {_names(cursor.epoch, missing)} never came and no gap says so; "
                f"it had all up to {had.cursor}, and its cursor is {cursor}",
                (channel, cursor.epoch, missing),
            )

    def _is_newer(self, epoch: str, other: str) -> bool:
        order = self._book.epochs
        return epoch in order and other in order and order.index(epoch) > order.index(other)

    def _advance(self, cursor: Cursor) -> None:
        """The client's cursor becomes `cursor`: all its channels must be that far."""
        for channel in self._channels:
            had = self._have.get(channel)
            if had is not None and not self._spoiled:
                self._check_reached(channel, had, cursor)

    # --- events ------------------------------------------------------------------------------------

    def _ask(self, cursor: str | None, limit: int | None) -> None:
        self._limit = limit
        self._messages = 0
        if cursor is None:
            self._last = None
            return
        here = cursor_of(cursor)
        if self._cursor is not None and here != self._cursor:
            # It kept the higher one of two that mean the same, or the lower.
            for channel in self._channels:
                if between := self._log.between(
                    channel, here.epoch, *sorted((here.position, self._cursor.position))
                ):
                    self._fault(
                        f"{here} and {self._cursor} do not mean the same on {channel}",
                        (channel, here.epoch, between),
                    )
                    return
        self._cursor = self._last = here
        for channel in self._channels:
            self._have[channel] = _Have(here)

    def _answer(self, cursor: str, more: bool, at_ms: int) -> None:
        end = cursor_of(cursor)
        if self._limit is not None and self._messages > self._limit:
            self._fault(f"{self._messages} messages came, and {self._limit} were asked for")
        if more and not self._messages:
            self._fault("there is more, but nothing came")
        if self._messages and end != self._last:
            self._fault(f"the answer's cursor is {end}, and its last message {self._last}")
        asked = self._cursor
        lower = asked is not None and asked.epoch == end.epoch and end.position < asked.position
        if not self._spoiled:
            if lower:
                assert asked is not None
                for channel in self._channels:
                    if between := self._log.between(channel, end.epoch, end.position, asked.position):
                        self._fault(
                            f"the empty answer's cursor {end} stands before messages that were not asked for",
                            (channel, end.epoch, between),
                        )
                        return
            else:
                self._advance(end)
        # Whichever of the two the client keeps, it means the same.
        self._cursor = end
        for channel in self._channels:
            had = self._have.get(channel)
            if had is None or (had.cursor.epoch, had.cursor.position) <= (end.epoch, end.position):
                self._have[channel] = _Have(end)

    def _same(self) -> None:
        return

    def _ready(self, cursor: str, channels: tuple[str, ...]) -> None:
        here = cursor_of(cursor)
        if set(channels) != self._channels:
            self._fault(f"ready names {channels}")
        if self._cursor is not None and here != self._cursor:
            self._fault(f"ready says {here} to a client that came with {self._cursor}")
        if self._cursor is None:
            skips = _ANY_TIME if self._current.start else 0
            for channel in self._channels:
                # Of what it asked back for, the oldest may be gone on one channel and not on another.
                self._have[channel] = _Have(here, skips)
            self._cursor = self._last = here

    def _message(self, text: str, channel: str) -> None:
        cursor = cursor_of(text)
        self._messages += 1
        if channel not in self._channels:
            self._fault(f"{text} is of {channel}, which was not asked for")
            return
        if (
            self._last is not None
            and self._last.epoch == cursor.epoch
            and cursor.position <= self._last.position
        ):
            self._fault(f"{text} came behind {self._last}: ids rise, and nothing comes twice")
            return
        if self._last is None and self._cursor is None and not self._have:
            if not self._current.start:
                self._fault(f"{text} came to a client that asked for what comes from now on")
                return
            # The first answer to a poll that asked for messages back.
            for one in self._channels:
                self._have[one] = _Have(Cursor(cursor.epoch, cursor.position - 1), _ANY_TIME)
        had = self._have.get(channel)
        if had is None or had.cursor.epoch != cursor.epoch:
            self._fault(
                f"{text} came to a client that stands at {had and had.cursor}: no gap told of the epoch"
            )
            return
        if cursor.position <= had.cursor.position:
            self._fault(f"{text} came, and {channel} had come, or was told as lost, up to {had.cursor}")
            return
        self._check_reached(channel, had, Cursor(cursor.epoch, cursor.position - 1))
        self._have[channel] = _Have(cursor)
        self._cursor = self._last = cursor

    def _gap(self, channel: str, after: str, resumed: str, reason: str, at_ms: int) -> None:
        stood, there = _cursor_or_none(after), cursor_of(resumed)
        have = self._have
        if channel in self._channels:
            had = have.get(channel)
        else:
            waiting = [asked for asked in self._asked.values() if channel in asked.channels]
            if not waiting:
                self._fault(f"a gap is told of {channel}, which was not asked for")
                return
            have = waiting[0].told
            start = _cursor_or_none(str(waiting[0].start.get("after", "")))
            had = None if start is None else _Have(start)
        if there.epoch not in self._book.epochs:
            self._fault(f"the gap resumes in an epoch that no life had: {resumed}")
            return
        if stood is None or had is None:
            self._fault(f"a gap from {after!r} is told to a client that came with no cursor for {channel}")
            return
        match reason:
            case "retention":
                if not stood.epoch == had.cursor.epoch == there.epoch:
                    self._fault(
                        f"retention is told from {after} to {resumed}, and the client is at {had.cursor}"
                    )
                    return
                self._check_reached(channel, had, stood)
                begin = max(stood.position, had.cursor.position)
                lost = self._log.between(channel, there.epoch, begin, there.position)
                if not lost and not self._log.may_be_cut(there.epoch, there.position, at_ms):
                    self._fault(
                        f"a gap is told from {after} to {resumed}, and nothing of {channel} is between"
                    )
            case "epoch":
                if str(had.cursor) != after or not self._is_newer(there.epoch, had.cursor.epoch):
                    self._fault(f"a new epoch is told from {after}, and the client is at {had.cursor}")
                lost = self._log.between(channel, there.epoch, 0, there.position)
                if channel in self._channels:
                    same = self._last is not None and self._last.epoch == there.epoch
                    self._last = min(self._last, there) if self._last is not None and same else there
            case _:
                self._fault(f"a gap of the reason {reason}, though every cursor was given by the server")
                return
        kept = [p for p in lost if not self._log.may_be_lost(channel, there.epoch, p, at_ms)]
        if kept and not self._spoiled:
            self._fault(
                f"a gap ({reason}) from {after} to {resumed} hides {_names(there.epoch, kept)}: kept ones",
                (channel, there.epoch, kept),
            )
        have[channel] = _Have(there)

    def _subscribe(self, ref: object, channels: tuple[str, ...], start: dict[str, Any]) -> None:
        self._asked[ref] = _Asked(channels, start)

    def _unsubscribe(self, ref: object, channels: tuple[str, ...]) -> None:
        self._asked[ref] = _Asked(channels, {"out": True})

    def _ok(self, ref: object, channels: tuple[str, ...], cursor: str | None, at_ms: int) -> None:
        asked = self._asked.pop(ref)
        if asked.start.get("out"):
            self._channels -= set(asked.channels)
            for channel in asked.channels:
                self._have.pop(channel, None)
            if set(channels) != self._channels:
                self._fault(f"ok names {channels}")
            return
        new = set(asked.channels) - self._channels
        if cursor is None or set(channels) != self._channels | new:
            self._fault(f"ok names {channels} and the cursor {cursor}")
            return
        here = cursor_of(cursor)
        # What the connection had been written before the ok has come before it.
        if self._cursor is None or here.epoch != self._cursor.epoch or here.position >= self._cursor.position:
            self._advance(here)
        for channel in new:
            if channel in asked.told:
                self._have[channel] = asked.told[channel]
            elif (stood := _cursor_or_none(str(asked.start.get("after", "")))) is not None:
                if stood.epoch != here.epoch:
                    self._fault(f"{channel} was asked for from {stood}, and no gap told of the epoch")
                    return
                self._have[channel] = _Have(stood)
            else:
                # It begins somewhere before this was heard: what came since must come.
                self._have[channel] = _Have(here, at_ms)
        self._channels |= new
        self._cursor = self._last = here

    def _end(self, _code: object) -> None:
        return

    def _closed(self, _code: object) -> None:
        self._stopped()

    def _cut(self, _why: object) -> None:
        self._stopped()

    def _left(self) -> None:
        self._stopped()

    def _stopped(self) -> None:
        """Nothing more comes. What the client's cursor says it has, it has."""
        if self._cursor is not None:
            for channel, had in list(self._have.items()):
                if not self._spoiled and had.cursor.epoch == self._cursor.epoch:
                    self._check_reached(channel, had, self._cursor)


def _cursor_or_none(text: str) -> Cursor | None:
    try:
        return cursor_of(text)
    except ValueError:
        return None


def _names(epoch: str, positions: list[int]) -> str:
    shown = ", ".join(map(str, positions[:8]))
    return f"{epoch}-({shown}{'…' if len(positions) > 8 else ''})"
