"""What a client asks of channels, read from one request (spec §2): the same question on all transports.

Owns: which channels, from where, how much, how long, over which transport. Does not own: the answer.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.names import split_channels
from tidings.core.numbering import ONE_LOG, Numbering
from tidings.core.patterns import Rules
from tidings.core.start import After, Earliest, Now, RewindCount, RewindTime, Start
from tidings.wire import cursor as cursors
from tidings.wire.http import Request, prefers


class Transport(StrEnum):
    """The four, in the order of the story."""

    POLLING = "polling"
    LONG_POLLING = "long-polling"
    SSE = "sse"
    WEB_SOCKET = "websocket"


@dataclass(frozen=True)
class Ask:
    """One question. `wait` is seconds, 0 for an answer at once; `known` is the ETag the client holds.

    `max_age` is for how many seconds a shared cache may keep an answer that tells something.
    """

    channels: tuple[str, ...]
    start: Start
    transport: Transport
    limit: int = limits.ANSWER_MESSAGES
    wait: float = 0.0
    known: str | None = None
    max_age: float = 0.0

    @cached_property
    def _hash(self) -> int:
        return hash((self.channels, self.start, self.limit, self.wait, self.known))

    def __hash__(self) -> int:
        """Return what finds it among shared answers: looked up by every client that asks the same."""
        return self._hash


class AskReader:
    """Reads what requests ask; what many ask alike is read once.

    `most_channels` bounds one question. `max_age` says for how many seconds a shared cache may keep
    answers about a channel, `numbering` what a cursor of the log looks like.
    """

    def __init__(self, most_channels: int, max_age: Rules[float], numbering: Numbering = ONE_LOG) -> None:
        self._most_channels = most_channels
        self._numbering = numbering
        self._max_age = max_age
        self._known: dict[tuple[str | None, ...], Ask] = {}

    def read(self, request: Request, names: str) -> Ask:
        """Return what `request` asks of the channels `names`, or refuse it.

        `names` is empty only for a WebSocket, which may begin with no channel.
        """
        headers = request.headers
        # All that the answer depends on.
        key = (request.target, *(headers.get(name) for name in _HEADERS))
        asked = self._known.get(key)
        if asked is None:
            asked = _read(request, names, self._most_channels, self._max_age, self._numbering)
            if sum(len(text) for text in key if text is not None) <= 512:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[key] = asked
        return asked


_HEADERS: Final = ("accept", "if-none-match", "last-event-id", "prefer", "upgrade")
_REMEMBERED: Final = 4_000  # questions


def _read(
    request: Request, names: str, most_channels: int, max_age: Rules[float], numbering: Numbering
) -> Ask:
    transport = choose(request)
    query = request.query
    if not names and transport is not Transport.WEB_SOCKET:
        raise Refusal("bad_channel", "Name a channel: /channels/NAME. Only a WebSocket may begin with none.")
    start = read_start(query, request.headers.get("last-event-id"), partitioned=numbering.partitioned)
    if (
        isinstance(start, After)
        and start.cursor is None
        and transport in (Transport.POLLING, Transport.LONG_POLLING)
    ):
        # On a stream this becomes a gap: a 4xx would end a browser's EventSource for good.
        raise Refusal("bad_cursor", "`after` takes a cursor that the server gave, or `earliest`.")
    channels = split_channels(names, most_channels) if names else ()
    numbering.check(channels)
    return Ask(
        channels=channels,
        start=start,
        transport=transport,
        limit=_limit(query),
        wait=_wait(request) if transport is Transport.LONG_POLLING else 0.0,
        known=request.headers.get("if-none-match"),
        # One channel that is not public keeps the whole answer out of shared caches.
        # What follows a cursor stays what it is; what the last 20 messages are does not.
        max_age=min(map(max_age.of, channels)) if max_age and isinstance(start, After) else 0.0,
    )


def choose(request: Request) -> Transport:
    """Return the transport of `request`: what it says outright, else what its headers ask for (spec §2.1)."""
    headers = request.headers
    named = request.query.get("transport")
    upgrade = "websocket" in headers.get("upgrade", "").lower()
    if named is not None:
        try:
            transport = Transport(named)
        except ValueError:
            known = ", ".join(Transport)
            raise Refusal("bad_parameter", f"`transport` is one of {known}.") from None
        if transport is Transport.WEB_SOCKET and not upgrade:
            raise Refusal(
                "upgrade_required",
                "A WebSocket begins with `Upgrade: websocket`; something on the way may have taken it out.",
                (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
            )
        return transport
    if upgrade:
        return Transport.WEB_SOCKET
    if prefers(headers.get("accept", ""), "text/event-stream"):
        return Transport.SSE
    if "wait" in request.query or _preferred_wait(headers) is not None:
        return Transport.LONG_POLLING
    return Transport.POLLING


def read_start(
    query: Mapping[str, str], last_event_id: str | None = None, *, partitioned: bool = False
) -> Start:
    """Return where to begin. `last_event_id` wins over the query: a browser sends it when it comes back."""
    if last_event_id:
        return after(last_event_id, partitioned=partitioned)
    if "after" in query:
        text = query["after"]
        return Earliest() if text == "earliest" else after(text, partitioned=partitioned)
    if "rewind" in query:
        return rewind(query["rewind"])
    return Now()


def after(text: str, *, partitioned: bool = False) -> After:
    """Return the start behind the cursor `text`, which need not be one."""
    cursor = cursors.decode(text, partitioned=partitioned)
    if cursor is None:
        # What is told back in a gap: short, and printable ASCII.
        text = "".join(c if " " < c <= "~" else "?" for c in text[: limits.CURSOR_BYTES])
    return After(text, cursor)


def rewind(value: str | int) -> RewindCount | RewindTime:
    """Return the start that many messages (`20`) or seconds (`30s`) back. Absurd values are clamped."""
    match = re.fullmatch(r"([0-9]+)(s?)", str(value))
    if match is None:
        raise Refusal("bad_parameter", "`rewind` is a number of messages, like 20, or of seconds, like 30s.")
    number = int(min(float(match[1]), _LONGEST))
    if match[2]:
        return RewindTime(float(number))
    return RewindCount(number)


_LONGEST: Final = 999_999_999.0  # some thirty years of seconds, and more messages than are kept of a channel


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit")
    if text is None:
        return limits.ANSWER_MESSAGES
    if re.fullmatch(r"-?[0-9]+", text) is None:
        raise Refusal("bad_parameter", "`limit` is a whole number of messages.")
    return int(max(1.0, min(float(text), limits.ANSWER_MESSAGES_MOST)))


def _wait(request: Request) -> float:
    text = request.query.get("wait")
    if text is None:
        preferred = _preferred_wait(request.headers)
        return limits.WAIT if preferred is None else min(preferred, limits.WAIT_MOST)
    try:
        wait = float(text or limits.WAIT)
    except ValueError:
        wait = math.nan
    if math.isnan(wait) or wait < 0:
        raise Refusal("bad_parameter", "`wait` is a number of seconds.")
    return min(wait, limits.WAIT_MOST)


def _preferred_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Prefer: wait=N` (RFC 7240 §4.3). A preference that makes no sense is none."""
    match = re.search(
        r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,9})(?![0-9])", headers.get("prefer", "")[:256].lower()
    )
    return None if match is None else float(match[1])
