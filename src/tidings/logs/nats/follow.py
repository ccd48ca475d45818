"""Following: the lives of the log, all that is kept of each, then what comes, with every hole told.

Owns: what one follower is told, from its first life to its end. Does not own: consumers (tail.py), the
connection (node.py).
Invariant: after a life was told, each message stands right behind the one before, or a hole is told between.

The stream drops its first messages and no others (stream.py). So what is lost of a life when it is told
stands before the stream's first message, and a hole comes later only to a follower that the dropping has
overtaken, or where somebody has purged the stream by hand.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Final

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.message import Hole, Life, Message
from tidings.logs.base import Batch, bounded
from tidings.logs.nats.link import ApiError, Link, LinkLost
from tidings.logs.nats.node import Node
from tidings.logs.nats.record import Arrival, Reading
from tidings.logs.nats.stream import State
from tidings.logs.nats.tail import Broken, Pull

BACK_OFF: Final = (0.02, limits.LOG_BACKOFF)  # seconds before the next consumer, when one brought nothing
QUIET: Final = 0.25  # seconds without what should come, and it is asked whether it is there

_log = logging.getLogger("tidings.logs")


class Follower:
    """One follower's place in the log: the life it was told, and up to which position it has all of it."""

    def __init__(self, node: Node, after: int) -> None:
        self._node = node
        self._after = after  # a position of the first life only
        self._reading = Reading(node.stream.name, "")
        self._told = ""
        self._position = 0
        self._found = 0  # the head when the life was come into: up to there may be messages of past lives
        self._strange = 0

    async def batches(self) -> AsyncIterator[Batch]:
        """See Log.follow."""
        pause, longest = BACK_OFF
        while (link := await self._node.linked()) is not None:
            pull: Pull | None = None
            position = self._position
            try:
                state = await self._node.check(link)
                begins = state.life != self._told
                after = self._first_of(state) if begins else self._position
                pull = await Pull.begin(link, self._node.stream, after)
                self._node.pulls.add(pull)
                if pull.start < after:
                    # A replica that is behind made the consumer: it would bring again what is told already.
                    raise Broken
                if begins:
                    yield self._begin(state, after, pull)
                elif pull.start > after:
                    self._position = pull.start
                    yield Hole(pull.start)
                while True:
                    arrivals = await pull.take(QUIET if self._position < self._node.head else None)
                    if not arrivals:
                        head = self._node.head
                        if await self._node.stream.nothing_up_to(link, head, self._position):
                            self._position = head
                            yield Hole(head)
                        arrivals = await pull.take()
                    if any(self._is_past(arrival) for arrival in arrivals):
                        await self._still(link)
                    for batch in self._take(pull, arrivals):
                        yield batch
            except (Broken, LinkLost):
                pause = BACK_OFF[0] if self._position != position else min(longest, pause * 2)
                await asyncio.sleep(pause)
            except (ApiError, SettingsError) as error:
                _log.warning(
                    "log_follow_refused place=%s reason=%s", self._node.place, self._node.words(error)
                )
                await asyncio.sleep(longest)
            finally:
                if pull is not None:
                    self._node.pulls.discard(pull)
                    pull.close()

    def _first_of(self, state: State) -> int:
        """Return the position behind which a life is told that is come into."""
        # Beyond its head nothing was seen, whatever is said.
        after = 0 if self._told else min(self._after, state.last)
        return max(after, state.first - 1)

    def _begin(self, state: State, after: int, pull: Pull) -> Life:
        self._reading = Reading(self._node.stream.name, state.life)
        self._told, self._position, self._found = state.life, pull.start, state.last
        # Where the consumer begins later than it was told, the stream has dropped more meanwhile.
        lost = pull.start if pull.start > after else state.first - 1
        return Life(state.life, max(lost, 0))

    def _is_past(self, arrival: Arrival) -> bool:
        return arrival.position <= self._found and self._reading.life_of(arrival) != self._told

    async def _still(self, link: Link) -> None:
        """Raise Broken when the life that was told is over.

        What is kept of past lives is told as of this one. From its subject alone a message of a past life
        cannot be told from one of a life that begins now, on a stream that has lost its tail.
        """
        if (await self._node.check(link)).life != self._told:
            raise Broken

    def _take(self, pull: Pull, arrivals: list[Arrival]) -> Iterator[Batch]:
        messages: list[Message] = []
        for arrival in arrivals:
            if arrival.position > self._found and self._reading.life_of(arrival) != self._told:
                # Another life has begun; which, is looked up. When it is none, the stream holds behind our
                # position what it did not hold there before.
                if self._strange == arrival.position:
                    self._node.doubt(proven=True)
                self._strange = arrival.position
                pull.wake()
                break
            if arrival.position <= self._position:
                pull.wake()  # a replica brings what was purged, and told as a hole
                break
            if arrival.position != self._position + 1:
                yield from bounded(messages)
                messages = []
                yield Hole(arrival.position - 1)
            self._position = arrival.position
            self._node.saw(self._told, arrival)
            message = self._reading.message(arrival)
            if message is not None:
                messages.append(message)
            elif arrival is arrivals[-1]:
                yield from bounded(messages)
                messages = []
                yield Hole(arrival.position, ours=False)
        yield from bounded(messages)
