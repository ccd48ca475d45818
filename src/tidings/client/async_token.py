"""Who the client is, in asyncio: a token, fixed or fetched anew.

Owns: keeping the token, and fetching one once for all who need it. Does not own: what a token looks like
(token.py), or what a 401 means for whoever was told so.
Invariant: one fetch at a time; it has no task of its own, so one that is cancelled leaves nothing behind.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

from tidings.client.token import check_token

FETCH_TIMEOUT: Final = 10.0

Source = str | Callable[[], str] | Callable[[], Awaitable[str]]


class AsyncToken:
    """The token of one client; `source` is the token, or a function that fetches one, plain or async."""

    def __init__(self, source: Source | None) -> None:
        """Take the source. Raises ValueError for a text that is no token."""
        self._source = source
        self._value = check_token(source) if isinstance(source, str) else None
        self._lock = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """Whether another one can be had than the one that was refused."""
        return callable(self._source)

    async def get(self) -> str | None:
        """Return the token, fetched where there is none; None: the client has none.

        Raises TimeoutError when it does not come in time, ValueError when what comes is none, and what the
        function raises.
        """
        if self._value is not None or not callable(self._source):
            return self._value
        async with self._lock:
            if self._value is None:
                async with asyncio.timeout(FETCH_TIMEOUT):
                    fetched = self._source()
                    self._value = check_token(await fetched if inspect.isawaitable(fetched) else fetched)
            return self._value

    def refused(self, token: str | None) -> bool:
        """Forget `token`, which the server does not take (any more); say whether another can be had."""
        if not self.renewable:
            return False
        if token == self._value:
            self._value = None
        return True
