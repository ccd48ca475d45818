"""How a connection to Redis finds out which life of the log goes on, and what is said when it cannot.

Owns: the first call on a connection, the words for failures, the waits between attempts. Does not own:
connections (link.py), the script (script.py), who connects when.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.logs.redis.link import Failed, Link, LinkLost, connect
from tidings.logs.redis.script import APPEND, Answer, Seen, Terms, read_answer
from tidings.logs.redis.url import Place

_BACKOFF_LEAST: Final = 0.05


async def enter(place: Place, terms: Terms, known: Callable[[], Seen | None]) -> tuple[Link, Answer]:
    """Return a new connection, and what `join` found out on it; at a cluster to the node that has our keys.

    Raises what `connect` and `join` do.
    """
    link = await connect(place)
    try:
        try:
            return link, await join(link, terms, known())
        except Failed as failed:
            if failed.moved is None:
                raise
            link.drop()
            link = await connect(place, failed.moved)
            return link, await join(link, terms, known())
    except BaseException:
        link.drop()
        raise


async def join(link: Link, terms: Terms, known: Seen | None) -> Answer:
    """Return which life goes on, where its head is, and what is kept: a call of the script without messages.

    Raises OSError, Failed or ValueError as `connect` does, and SettingsError where it cannot be used at all.
    """
    try:
        async with asyncio.timeout(limits.LOG_TIMEOUT):
            arguments = (*terms.append(link, known, joins=True), "0")
            try:
                answer = await link.call(*APPEND.command(terms.keys), *arguments)
            except Failed as failed:
                if failed.code != "NOSCRIPT":
                    raise
                answer = await link.call(*APPEND.command(terms.keys, whole=True), *arguments)
    except Failed as failed:
        if failed.code == "NOPERM":
            raise SettingsError(
                f"Redis lets the log's user do too little on its keys, {terms.keys[0]} and the like."
            ) from None
        if failed.code in ("WRONGTYPE", "NOTOURS"):
            raise SettingsError(
                f"{terms.keys[1]} in this Redis is not a log of ours: choose another name (?name=…)."
            ) from None
        raise
    return read_answer(answer)


def reason(error: Exception) -> str:
    """Return what went wrong, without words of the peer's."""
    if isinstance(error, SettingsError | LinkLost):
        return str(error)
    return error.code if isinstance(error, Failed) else type(error).__name__


def backoff(failures: int) -> float:
    """Return how long to wait before the next attempt, in seconds: by chance, so that nodes spread out."""
    return random.uniform(0.5, 1.0) * min(limits.LOG_BACKOFF, _BACKOFF_LEAST * 2.0 ** min(failures, 10))  # noqa: S311


def unavailable(detail: str) -> Refusal:
    """Return what a publisher is told when its messages were perhaps not kept."""
    again = f"{detail} Publish again, with the same idempotency key."
    return Refusal("log_unavailable", again)
