"""Who listens: subscribers, and the cohorts of those that are live.

Owns: membership. Does not own: what is written when (hub.py), where a client stands (places.py).
Invariant: a subscriber is in at most one cohort; a cohort has members, and is found under each of
its channels.
"""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

from tidings.core.message import Gap, Message

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
    `descriptor` is the connection's, where bytes that are sent on it need no `write` in between.
    `once` subscribers are written one batch and then forgotten: parked long-polls. One that waited
    for this node to catch up with its cursor is written None, and asks again.
    """

    __slots__ = (
        "channels",
        "cohort",
        "descriptor",
        "floors",
        "once",
        "paused",
        "position",
        "rendering",
        "write",
    )

    def __init__(
        self,
        channels: tuple[str, ...],
        rendering: Rendering,
        write: Callable[[Any], object],
        *,
        descriptor: int | None = None,
        once: bool = False,
    ) -> None:
        self.channels = channels
        self.rendering = rendering
        self.write = write
        self.descriptor = descriptor
        self.once = once
        # Only what is not live has a position: everything up to it has been written.
        self.position = 0
        # Channels of which more has been written, or told as lost, than `position` says.
        self.floors: dict[str, int] | None = None
        self.cohort: Cohort | None = None
        self.paused = False

    def drain(self, reconnect_within_ms: int, code: str) -> bool:
        """End, and tell the client to come back: see Exchange.drain, whose part of it this is."""
        raise NotImplementedError


class Cohort:
    """Live subscribers of the same channels that are written the same bytes.

    The members of a `direct` one all have a descriptor, and are found by it.
    """

    __slots__ = ("channels", "direct", "key", "members", "once", "rendering", "written_at")

    def __init__(self, like: Subscriber, key: Hashable) -> None:
        self.channels = like.channels
        self.rendering = like.rendering
        self.once = like.once
        self.direct = like.descriptor is not None
        self.key = key
        self.members: dict[int, Subscriber] = {}
        self.written_at = -math.inf

    def admit(self, subscriber: Subscriber) -> None:
        """Make `subscriber`, which is like the others and has been written everything, live."""
        self.members[_number(subscriber)] = subscriber
        subscriber.cohort = self


class Cohorts:
    """All cohorts, by what they are told and by channel."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Cohort] = {}
        # A dict, because its order is the order of joining.
        self._by_channel: dict[str, dict[Cohort, None]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def live(self) -> int:
        """Subscribers in all cohorts."""
        return sum(len(cohort.members) for cohort in self._by_key.values())

    def touched_by(self, messages: Sequence[Message]) -> dict[Cohort, list[Message]]:
        """Return which cohorts hear which of `messages`.

        By cohort and in order of position, not channel by channel: a cut between two writes must not
        leave a client a cursor ahead of messages that it never had.
        """
        touched: dict[Cohort, list[Message]] = {}
        for message in messages:
            for cohort in self._by_channel.get(message.channel, ()):
                touched.setdefault(cohort, []).append(message)
        return touched

    def join(self, subscriber: Subscriber) -> None:
        """Make `subscriber` live. It has been written everything."""
        if not subscriber.channels:
            return
        direct = subscriber.descriptor is not None
        key = (subscriber.channels, subscriber.rendering, subscriber.once, direct)
        cohort = self._by_key.get(key)
        if cohort is None:
            cohort = self._by_key[key] = Cohort(subscriber, key)
            for channel in cohort.channels:
                self._by_channel.setdefault(channel, {})[cohort] = None
        cohort.admit(subscriber)
        subscriber.floors = None

    def leave(self, subscriber: Subscriber, position: int) -> None:
        """Take `subscriber` out, if it is live; it has been written everything up to `position`."""
        cohort = subscriber.cohort
        if cohort is None:
            return
        subscriber.cohort = None
        subscriber.position = position
        del cohort.members[_number(subscriber)]
        if not cohort.members:
            self._disband(cohort)

    def dismiss(self, cohort: Cohort) -> Sequence[Subscriber]:
        """Forget `cohort`, and return who was in it."""
        members, cohort.members = tuple(cohort.members.values()), {}
        for subscriber in members:
            subscriber.cohort = None
        self._disband(cohort)
        return members

    def dismiss_all(self) -> list[Subscriber]:
        """Forget all cohorts, and return who was in them."""
        return [subscriber for cohort in list(self._by_key.values()) for subscriber in self.dismiss(cohort)]

    def _disband(self, cohort: Cohort) -> None:
        del self._by_key[cohort.key]
        for channel in cohort.channels:
            its_cohorts = self._by_channel[channel]
            del its_cohorts[cohort]
            if not its_cohorts:
                del self._by_channel[channel]


def _number(subscriber: Subscriber) -> int:
    """Return what finds `subscriber` in its cohort."""
    return id(subscriber) if subscriber.descriptor is None else subscriber.descriptor


def send_each(cohort: Cohort, data: bytes, send: Callable[[int, bytes], int]) -> int:
    """Call `send` with the descriptor of each member of a direct cohort; return how many members there were.

    That is the kernel's `send` and next to nothing else. What it does not take goes the long way, through the
    connection, which then pushes back. A member is looked up only then: touching a thousand objects
    between a thousand calls of the kernel costs more than the loop.
    """
    size = len(data)
    descriptors = tuple(cohort.members)
    rest = iter(descriptors)
    descriptor = sent = 0
    while True:
        try:
            for descriptor in rest:
                sent = 0
                sent = send(descriptor, data)
                if sent != size:
                    break
            else:
                return len(descriptors)
        except OSError:
            pass  # it would block, or the connection is breaking: its own `write` finds out
        # Not there any more: it has left during this walk.
        if (subscriber := cohort.members.get(descriptor)) is not None:
            write_each((subscriber,), data[sent:])


def write_each(subscribers: Iterable[Subscriber], data: Any) -> None:
    """Write `data` to each of `subscribers`. One that fails never stops the walk."""
    for subscriber in subscribers:
        try:
            subscriber.write(data)
        except Exception:
            # uvloop raises where asyncio warns when a transport has just closed; its
            # connection_lost follows and takes the subscriber out.
            _log.debug("a write to a closing connection failed", exc_info=True)
