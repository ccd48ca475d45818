"""Who waits for this node to learn of a place that another node told its client.

A cursor that this node has not followed up to may be a node's that is ahead, may be of a life that this
node has not heard of yet, or may be from nowhere: only the log can say. So it is asked, and the client
waits until this node has come as far as the log is (design, §4: "from the future only when the log
itself says so").

Owns: the waiting, and its end. Does not own: what a place means (places.py).
Invariant: whoever waits is called exactly once, within `limits.LOG_TIMEOUT` and a housekeeping's time.
"""

from asyncio import Future
from collections.abc import Callable

from tidings.core import limits
from tidings.core.message import Cursor
from tidings.core.start import After, Start
from tidings.hub.places import Places
from tidings.logs.base import Log


class _Arrival:
    """One client. `asked` is whether the log has been heard since it came."""

    __slots__ = ("asked", "deadline", "start", "then")

    def __init__(self, start: Start, then: Callable[[bool], None], deadline: float) -> None:
        self.start = start
        self.then = then
        self.deadline = deadline
        self.asked = False


class Arrivals:
    """Clients whose place is not known here yet. `monotonic` returns the event loop's seconds."""

    def __init__(self, log: Log, places: Places, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._places = places
        self._monotonic = monotonic
        # What there is to be brought before this node can speak of now. Nobody knows before a life is known.
        self._begun = False
        self._goal: Cursor | None = None
        # Where only this process appends, nobody can know of more than this node.
        self._alone = type(log).refresh is Log.refresh
        self.waiting: dict[_Arrival, None] = {}

    @property
    def loading(self) -> bool:
        """Whether what is kept of this life is still being brought: what comes is not new."""
        goal, places = self._goal, self._places
        if goal is not None and places.numbering.is_followed(goal, places.position):
            self._goal = None
        return self._goal is not None or not self._begun

    def begin(self) -> None:
        """Another life was come into."""
        self._begun = True
        self._goal = self._places.numbering.goal(self._places.epoch, self._log.head)
        self.look()

    def knows(self, start: Start) -> bool:
        """Whether this node can say now what `start` means, without asking anybody."""
        return self._alone or (self._places.knows(start) and not self.loading)

    def reach(self, start: Start, then: Callable[[bool], None]) -> None:
        """Call `then` later: with True when this node knows `start`, with False when it cannot find out."""
        arrival = _Arrival(start, then, self._monotonic() + limits.LOG_TIMEOUT)
        self.waiting[arrival] = None
        asked = self._log.refresh()
        assert asked is not None, "a log that nobody else appends to is known"
        asked.add_done_callback(lambda done: self._heard(arrival, done))

    def _heard(self, arrival: _Arrival, done: "Future[None]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._call([arrival], known=False)
        else:
            arrival.asked = True
            if self._is_settled(arrival):
                self._call([arrival], known=True)

    def look(self) -> None:
        """Call those whose place is known by now."""
        self._call([arrival for arrival in self.waiting if self._is_settled(arrival)], known=True)

    def expire(self) -> None:
        """Call those that have waited long enough."""
        now = self._monotonic()
        self._call([arrival for arrival in self.waiting if arrival.deadline <= now], known=False)

    def _call(self, arrivals: list[_Arrival], *, known: bool) -> None:
        for arrival in arrivals:
            # Taken out first, and only once: what is called may publish, and so lead here again.
            if self.waiting.pop(arrival, self) is None:
                arrival.then(known)

    def _is_settled(self, arrival: _Arrival) -> bool:
        places, log = self._places, self._log
        if not arrival.asked or self.loading or places.epoch != log.epoch:
            return False
        cursor = arrival.start.cursor if isinstance(arrival.start, After) else None
        if cursor is None or not places.numbering.is_of(cursor, places.epoch):
            return True
        numbering = places.numbering
        return numbering.is_followed(cursor, places.position) or not numbering.is_given(cursor, log.head)
