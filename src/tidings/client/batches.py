"""Many messages in few requests: what a message is, and how many go together.

Owns: the check of a message before it leaves, and the bounds of a batch (spec §6.4). Does not own: sending.
Invariant: messages keep their order, and each its data, byte for byte.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NotRequired, TypedDict, TypeVar

import msgspec

from tidings.client.address import read_channels
from tidings.client.errors import Refused
from tidings.core.errors import Refusal
from tidings.core.limits import BATCH_BYTES, BATCH_LINES, BODY_BYTES
from tidings.core.names import check_event, check_key
from tidings.wire.envelope import check_json

_T = TypeVar("_T")


class Draft(TypedDict):
    """One message for `Publisher.publish_many`; the members are what `publish` takes."""

    channel: str
    data: Any
    event: NotRequired[str | None]
    key: NotRequired[str | None]
    idempotency_key: NotRequired[str | None]


@dataclass(frozen=True)
class Outgoing:
    """A checked message that is to be published once; `data` is JSON text."""

    channel: str
    data: bytes
    event: str | None
    key: str | None
    idempotency_key: str
    # The publisher's own key, which may have been used before; else it was made for this message.
    own_key: bool

    @cached_property
    def line(self) -> bytes:
        """The message as one line of a batch. `data` must be JSON without line feeds."""
        given = {
            "channel": self.channel,
            "data": msgspec.Raw(self.data),
            "event": self.event,
            "key": self.key,
            "idempotency_key": self.idempotency_key,
        }
        members = {name: value for name, value in given.items() if value is not None}
        return msgspec.json.encode(members) + b"\n"


def check(
    channel: str,
    data: Any,
    event: str | None = None,
    key: str | None = None,
    idempotency_key: str | None = None,
) -> Outgoing:
    """Return the message, or raise Refused as the server would; TypeError, ValueError: that has no JSON."""
    (name,) = read_channels((channel,))
    return Outgoing(
        name,
        bytes(data) if isinstance(data, bytes | bytearray) else _as_json(data),
        None if event is None else _asked(check_event, event),
        None if key is None else _asked(check_key, key),
        secrets.token_urlsafe(16) if idempotency_key is None else _asked(check_key, idempotency_key),
        own_key=idempotency_key is not None,
    )


def read(draft: Draft) -> Outgoing | Refused:
    """Return the message, or why it is refused; raises TypeError and ValueError where that is none."""
    given = set(draft)
    if not Draft.__required_keys__ <= given <= Draft.__annotations__.keys():
        raise TypeError(
            f"a message has {', '.join(Draft.__annotations__)} (the last three as wanted), not {given}"
        )
    try:
        message = check(**draft)
        # In a batch it stands amid our own JSON: what is none must not reach out of its place.
        return replace(message, data=_asked(check_json, message.data))
    except Refused as no:
        return no


def request(message: Outgoing) -> tuple[dict[str, str], dict[str, str]]:
    """Return the query and the headers with which a message goes to its channel's URL (spec §6.1)."""
    given = {"event": message.event, "key": message.key}
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": message.idempotency_key,
        "Accept": "application/json",
    }
    return {name: value for name, value in given.items() if value is not None}, headers


def split(messages: Sequence[Outgoing | Refused]) -> Iterator[list[Outgoing] | Refused]:
    """Yield what goes with one request, in order; one message by itself is no batch.

    That is also for what no line can hold as it is: it is too long, or has line ends in its JSON.
    """
    together: list[Outgoing] = []
    size = 0
    for message in messages:
        if isinstance(message, Refused) or b"\n" in message.data or len(message.line) > BODY_BYTES:
            if together:
                yield together
            together, size = [], 0
            yield message if isinstance(message, Refused) else [message]
            continue
        if len(together) == BATCH_LINES or size + len(message.line) > BATCH_BYTES:
            yield together
            together, size = [], 0
        together.append(message)
        size += len(message.line)
    if together:
        yield together


def _asked(check: Callable[[_T], _T], value: _T) -> _T:
    """Return what `check` returns, or raise Refused as the server would."""
    try:
        return check(value)
    except Refusal as no:
        raise Refused(no.kind.code, no.kind.status, no.detail) from None


def _as_json(data: Any) -> bytes:
    # The standard library's encoder, because it can refuse NaN; msgspec would write null for it.
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
