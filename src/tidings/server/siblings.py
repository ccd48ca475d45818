"""What a worker knows of the others: their figures, asked of the parent when somebody wants to see them.

Owns: the worker's questions to its parent, and /metrics while it waits for the answer. Does not own: sums
(figures.py), what is counted (admin.py).
"""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidings.core import limits
from tidings.transports.carrier import Awaited, Carrier
from tidings.wire import duty

if TYPE_CHECKING:
    from tidings.server.admin import Admin


class Siblings:
    """The other workers. `counters` and `gauges` are what they last said."""

    def __init__(self, loop: AbstractEventLoop, say: Callable[[duty.Word], None]) -> None:
        self.counters: dict[str, float] = {}
        self.gauges: list[dict[str, float]] = []
        self._loop = loop
        self._say = say
        self._asking: list[Callable[[], None]] = []
        self._next: list[Callable[[], None]] = []

    def gather(self, told: Callable[[], None]) -> None:
        """Call `told` when the others have said what they count since now."""
        # What is on the way may have been counted before: who comes meanwhile is for the next round.
        self._next.append(told)
        if not self._asking:
            self._ask()

    def take(self, others: duty.Others) -> None:
        """The parent's answer."""
        self.counters, self.gauges = others.counters, others.gauges
        told, self._asking = self._asking, []
        if self._next:
            self._ask()
        for call in told:
            call()

    def _ask(self) -> None:
        self._asking, self._next = self._next, []
        self._say(duty.Gather())


class Gathering(Awaited):
    """A /metrics that waits for the other workers."""

    __slots__ = ("_admin", "_carrier", "_gone")

    def __init__(self, admin: "Admin", siblings: Siblings, carrier: Carrier) -> None:
        self._admin = admin
        self._carrier = carrier
        self._gone = False
        carrier.hold(self, 2 * limits.WORKER_ANSWER + 1.0)
        siblings.gather(self._told)

    def _told(self) -> None:
        if not self._gone:
            self._gone = True
            self._carrier.reply(self._admin.metrics())

    def expired(self) -> None:
        """The parent does not answer: what was known before is told."""
        self._told()

    def lost(self) -> None:
        """Whoever asked has gone."""
        self._gone = True

    def drain(self, _reconnect_within_ms: int, _code: str) -> bool:
        """The answer is awaited first; it comes soon."""
        return False
