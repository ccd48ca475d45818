"""Following channels: what an application iterates over.

Owns: the iteration, and its end. Does not own: the connection behind it (supervisor.py).
Invariant: everything up to `cursor` was handed out, or told as a gap; nothing above it was. A feed that
nobody holds any more is closed.
"""

import weakref
from types import TracebackType
from typing import Self

from tidings.client.items import Gap, Message
from tidings.client.state import State
from tidings.client.supervisor import Supervisor


class Feed:
    """The messages and gaps of some channels, in order, each once. One task may iterate over it.

    It ends only by an error, or when it is closed. Leaving the loop closes it as soon as nothing refers to
    it; as an async context manager it is closed at the end of the block. An iteration that is cancelled, as
    by
    `asyncio.timeout`, loses nothing: the next one goes on.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        """Take what `follow` or `subscribe` has made; nothing is connected before the first iteration."""
        self._supervisor = supervisor
        self._started = False

    @property
    def cursor(self) -> str | None:
        """Everything up to here was handed out; None: nothing is known yet. Give it as `after=`."""
        cursor = self._supervisor.buffer.cursor
        return cursor if cursor != "earliest" else None

    @property
    def state(self) -> State:
        """How the connection stands."""
        return self._supervisor.state

    @property
    def transport(self) -> str:
        """The transport in use, or the one that is tried now or next."""
        return self._supervisor.state.transport

    def explain(self) -> str:
        """Return how it stands, what was tried and why it fell, in plain words."""
        return self._supervisor.explain()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        """Return the next item. Raises Refused, BadAnswer and Unreachable (see `follow`)."""
        self._start()
        return await self._supervisor.buffer.take()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. The feed has ended then; its `cursor` stays."""
        await self._supervisor.aclose()

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._supervisor.start()
        # `async for … break` lets go of the feed, and can do no more.
        weakref.finalize(self, self._supervisor.abandon).atexit = False
