"""A message as a log keeps it where others can write, too: one schema-checked, versioned record.

Owns: the record's bytes, and the check of what comes back. Does not own: position and time, which are the
log's own words. Invariant: what `unpack` returns is as safe on every transport as what a publisher
sent; the threat is whoever else can write to the same Redis or NATS.

The record is a MessagePack array: version 1, channel, event or nil, key or nil, the data's JSON text.
"""

from typing import Annotated, Final, Literal

import msgspec

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Draft
from tidings.core.names import check_channel, check_event, check_key
from tidings.wire import envelope

VERSION: Final = 1


class _Record(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    channel: str
    event: str | None
    key: str | None
    data: Annotated[bytes, msgspec.Meta(max_length=limits.LOG_RECORD_BYTES)]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


class BadRecord(ValueError):
    """Bytes that are no record of ours; the text says why, and holds nothing of them."""


def pack(draft: Draft) -> bytes:
    """Return the record that keeps `draft`."""
    return _encode(_Record(1, draft.channel, draft.event, draft.key, draft.data))


def unpack(record: bytes) -> Draft:
    """Return what a record keeps, without an idempotency key. Raises BadRecord when it is none of ours."""
    if len(record) > limits.LOG_RECORD_BYTES:
        raise BadRecord(f"it is {len(record)} bytes long, and at most {limits.LOG_RECORD_BYTES} are taken")
    try:
        found = _decode(record)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecord(str(error)) from None
    try:
        check_channel(found.channel)
        if found.event is not None:
            check_event(found.event)
        if found.key is not None:
            check_key(found.key)
        return Draft(found.channel, envelope.check_json(found.data), found.event, found.key)
    except Refusal as refusal:
        raise BadRecord(refusal.detail) from None
