"""What all workers have counted together, so that /metrics on any of them answers for the whole server.

Owns: the parent's sums, and who waits for them. Does not own: what is counted (admin.py).

Who is asked asks the others first: sums of what each said some time ago would go back between one worker's
answer and the next one's, and a counter that goes back reads as a restart.

Invariant: a counter never goes back: what a worker had last reported stays counted when it is gone.
"""

from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Sequence

from tidings.core import limits
from tidings.server.child import Child
from tidings.wire import duty


class Figures:
    """The parent's side."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._past: Counter[str] = Counter()
        # Who asks, and of whom it still waits to hear.
        self._gathering: dict[Child, tuple[set[Child], list[Child]]] = {}

    def gather(self, asking: Child, others: Sequence[Child]) -> None:
        """Tell `asking` what the others count, when all have said it or the time is over."""
        awaited = {child for child in others if child.serves}
        self._gathering[asking] = (awaited, list(others))
        for child in awaited:
            child.say(duty.Count())
        if awaited:
            self._loop.call_later(limits.WORKER_ANSWER, self._tell, asking, awaited)
        else:
            self._tell(asking, awaited)

    def reported(self, child: Child) -> None:
        """`child` has reported."""
        for asking, (awaited, _) in list(self._gathering.items()):
            awaited.discard(child)
            if not awaited:
                self._tell(asking, awaited)

    def gone(self, child: Child) -> None:
        """`child` has ended: its counters stay, its gauges do not."""
        self._past.update(child.counters)
        self._gathering.pop(child, None)
        for _, others in self._gathering.values():
            if child in others:
                others.remove(child)
        self.reported(child)

    def _tell(self, asking: Child, awaited: set[Child]) -> None:
        if asking not in self._gathering or self._gathering[asking][0] is not awaited:
            return  # it was told already
        _, others = self._gathering.pop(asking)
        counters = Counter(self._past)
        for child in others:
            counters.update(child.counters)
        asking.say(duty.Others(dict(counters), [child.gauges for child in others if child.serves]))
