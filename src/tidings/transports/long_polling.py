"""HTTP long-polling: the client asks once, and the answer hangs until there is one (spec §5.2).

Its cost: a round trip and a request's head for each answer, and a connection that hangs meanwhile.
Its merit: a message arrives when it is published, and to everything on the way it is plain HTTP.

Waiters at the same place are one cohort: one answer is rendered, and written to each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tidings.core import limits
from tidings.core.message import Gap, Message
from tidings.core.start import Now
from tidings.hub import Cohort, Hub, Subscriber
from tidings.transports.answers import Answer, look, preference, respond, tell, tell_shared
from tidings.transports.ask import Ask, after
from tidings.transports.carrier import Awaited, Carrier
from tidings.wire import cursor as cursors


@dataclass(frozen=True, slots=True, eq=False)
class _SharedAnswer:
    """How a cohort of waiters is answered: the same for all that asked with the same limit and wait."""

    limit: int
    wait: float
    max_age: float

    def messages(self, ms: Sequence[Message]) -> Answer:
        room = limits.ANSWER_BYTES
        end = 0
        while end < len(ms) and end < self.limit and (end == 0 or room >= len(ms[end].data)):
            room -= len(ms[end].data)
            end += 1
        cursor = cursors.of(ms[end - 1])
        more = end < len(ms)
        return respond(ms[:end], cursor, more=more, max_age=self.max_age, headers=preference(self.wait))

    def gaps(self, _gs: Sequence[Gap], _cursor: str) -> Answer:
        raise AssertionError("a waiter that finds a gap asks again")


# One object for all that are answered alike: it is what they are found by.
_shared_answer = lru_cache(maxsize=1_000)(_SharedAnswer)


def answer(hub: Hub, ask: Ask, carrier: Carrier) -> Answer | None:
    """Return what follows the client's cursor, or None: then `carrier` is held until there is something.

    Looking and beginning to wait are one step of the event loop: nothing can be published in between.
    """
    known = hub.shared.get(ask)
    if type(known) is Cohort and known.members:
        # Somebody has looked who asked the same, and there is nothing yet.
        known.admit(_park(hub, ask, carrier))
        return None
    if type(known) is tuple:
        return tell_shared(hub, known)
    place, found = look(hub, ask)
    if found.messages or place.gaps or ask.wait == 0:
        return tell(hub, ask, place, found, share=True, headers=preference(ask.wait))
    waiter = _park(hub, ask, carrier)
    hub.subscribe(waiter, place)
    if waiter.cohort is not None:
        hub.shared.put(ask, waiter.cohort)
    return None


def _park(hub: Hub, ask: Ask, carrier: Carrier) -> "LongPoll":
    waiter = LongPoll(hub, ask, carrier)
    carrier.hold(waiter, ask.wait)
    return waiter


class LongPoll(Awaited, Subscriber):
    """One parked question."""

    __slots__ = ("_ask", "_carrier", "_hub")

    def __init__(self, hub: Hub, ask: Ask, carrier: Carrier) -> None:
        super().__init__(
            ask.channels, _shared_answer(ask.limit, ask.wait, ask.max_age), self._told, once=True
        )
        self._hub = hub
        self._ask = ask
        self._carrier = carrier

    def _told(self, answer: Answer | None) -> None:
        if answer is not None:
            self._carrier.reply(answer)
        else:
            # It has waited at `position`: what it asks "from now on" is from there on.
            stood = self._hub.places.cursor(self.position, self.channels)
            start = after(stood, partitioned=self._hub.places.partitioned)
            self._answer(replace(self._ask, start=start) if isinstance(self._ask.start, Now) else self._ask)

    def _answer(self, ask: Ask) -> None:
        """Answer with what there is now, which may be nothing."""
        place, found = look(self._hub, ask)
        headers = preference(ask.wait)
        # Not shared: who asks the same again is to wait.
        self._carrier.reply(tell(self._hub, ask, place, found, share=False, headers=headers))

    def expired(self) -> None:
        """The deadline: an empty answer, and the client asks again."""
        self._hub.unsubscribe(self)
        self._answer(self._ask)

    def drain(self, _reconnect_within_ms: int, _code: str) -> bool:
        """An answer now: the next question goes to the next server."""
        self.expired()
        return True

    def lost(self) -> None:
        """The client went away: nothing was consumed."""
        self._hub.unsubscribe(self)
