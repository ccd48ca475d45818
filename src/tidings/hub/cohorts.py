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
        key = (subscriber.channels, subscriber.rendering, subscriber.once)
        cohort = self._by_key.get(key)
        if cohort is None:
            cohort = Cohort(subscriber.channels, subscriber.rendering, once=subscriber.once, key=key)
            self._by_key[key] = cohort
            for channel in cohort.channels:
                self._by_channel.setdefault(channel, {})[cohort] = None
        cohort.members[subscriber] = subscriber.write
        subscriber.cohort = cohort
        subscriber.floors = None

    def leave(self, subscriber: Subscriber, position: int) -> None:
        """Take `subscriber` out, if it is live; it has been written everything up to `position`."""
        cohort = subscriber.cohort
        if cohort is None:
            return
        subscriber.cohort = None
        subscriber.position = position
        del cohort.members[subscriber]
        if not cohort.members:
            self._disband(cohort)

    def dismiss(self, cohort: Cohort) -> Sequence[Callable[[Any], object]]:
        """Forget `cohort` and its members; return their writes."""
        for subscriber in cohort.members:
            subscriber.cohort = None
        self._disband(cohort)
        return tuple(cohort.members.values())

    def _disband(self, cohort: Cohort) -> None:
        del self._by_key[cohort.key]
        for channel in cohort.channels:
            its_cohorts = self._by_channel[channel]
            del its_cohorts[cohort]
            if not its_cohorts:
                del self._by_channel[channel]


def write_each(writes: Iterable[Callable[[Any], object]], data: Any) -> None:
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
