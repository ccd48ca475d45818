"""Cursors as text (spec §3.1): `EPOCH-POSITION`, for example `9f3k-1042`.

Opaque to clients, safe in a URL, a header and an event-stream field, at most 128 bytes.
A list of positions, `EPOCH-P0.P1.…`, is kept free for a log of several partitions; today it is refused.
"""

import re

from tidings.core.limits import CURSOR_BYTES
from tidings.core.message import Cursor

# No leading zeros: one place has one spelling, so equal cursors are equal cache keys and ETags.
_CURSOR = re.compile(r"([a-z0-9]{1,32})-(0|[1-9][0-9]{0,18})").fullmatch


def encode(cursor: Cursor) -> str:
    """Return the text of `cursor`."""
    return f"{cursor.epoch}-{cursor.position}"


def decode(text: str) -> Cursor | None:
    """Return the cursor that `text` spells, or None when it spells none."""
    # The length first, so that a megabyte of digits is not even looked at.
    match = _CURSOR(text) if len(text) <= CURSOR_BYTES else None
    return None if match is None else Cursor(match[1], int(match[2]))
