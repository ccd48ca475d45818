"""Cursors as text (spec §3.1): `EPOCH-POSITION`, for example `9f3k-1042`.

Opaque to clients, safe in a URL, a header and an event-stream field, at most 128 bytes.
In a log of several partitions a cursor has a position in each that its channels touch:
`EPOCH-PARTITION.POSITION-PARTITION.POSITION`, for example `9f3k-0.1042-3.77`, rising by partition.
"""

import re
from itertools import pairwise
from typing import Final

from tidings.core.limits import CURSOR_BYTES
from tidings.core.message import Cursor, Message

# No leading zeros: one place has one spelling, so equal cursors are equal cache keys and ETags.
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,18})"
_CURSOR = re.compile(rf"([a-z0-9]{{1,32}})-({_NUMBER})").fullmatch
_PART: Final = rf"[1-9]?[0-9]\.{_NUMBER}"
_PARTITIONED = re.compile(rf"([a-z0-9]{{1,32}})-({_PART}(?:-{_PART})*)").fullmatch


def encode(cursor: Cursor) -> str:
    """Return the text of `cursor`."""
    if cursor.partitions:
        parts = "-".join([f"{partition}.{position}" for partition, position in cursor.partitions])
        return f"{cursor.epoch}-{parts}"
    return f"{cursor.epoch}-{cursor.position}"


def decode(text: str, *, partitioned: bool = False) -> Cursor | None:
    """Return the cursor that `text` spells, or None when it spells none.

    Only for a log that is `partitioned` is a place in several partitions a cursor.
    """
    # The length first, so that a megabyte of digits is not even looked at.
    if len(text) > CURSOR_BYTES:
        return None
    match = _CURSOR(text)
    if match is not None:
        return Cursor(match[1], int(match[2]))
    match = _PARTITIONED(text) if partitioned else None
    if match is None:
        return None
    parts = [part.split(".") for part in match[2].split("-")]
    partitions = tuple((int(partition), int(position)) for partition, position in parts)
    rises = all(a[0] < b[0] for a, b in pairwise(partitions))
    return Cursor(match[1], 0, partitions) if rises else None


def of(message: Message) -> str:
    """Return the id of `message`: the text of the cursor just behind it."""
    return message.label or f"{message.epoch}-{message.position}"
