"""Who the client is, in plain code: a token, fixed or fetched anew.

Owns: what a token looks like, keeping it, and fetching one once for all threads. Does not own: what a 401
means for whoever was told so. No asyncio: a program that only publishes does without (async_token.py).
"""

import re
import threading
from collections.abc import Callable
from typing import Final

# RFC 6750 §2.1. What else it were could reach into the next header.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch


class Token:
    """The token of one publisher; `source` is the token, or a function that fetches one."""

    def __init__(self, source: str | Callable[[], str] | None) -> None:
        """Take the source. Raises ValueError for a text that is no token."""
        self._fetch = source if callable(source) else None
        self._value = check_token(source) if isinstance(source, str) else None
        self._lock = threading.Lock()

    def get(self) -> str | None:
        """Return the token, fetched where there is none; None: there is none to be had."""
        with self._lock:
            if self._value is None and self._fetch is not None:
                self._value = check_token(self._fetch())
            return self._value

    def refused(self, token: str | None) -> bool:
        """Forget `token`, which the server does not take (any more); say whether another can be had."""
        with self._lock:
            if self._fetch is not None and token == self._value:
                self._value = None
        return self._fetch is not None


def check_token(token: object) -> str:
    """Return a token that may stand in a header; raises ValueError without repeating it."""
    if not isinstance(token, str) or _TOKEN(token) is None:
        raise ValueError(
            "that is no token: one has letters, digits and . _ ~ + / - only, perhaps = at the end"
        )
    return token
