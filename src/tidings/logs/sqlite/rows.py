"""Messages out of rows: the file is not trusted, anybody with a shell can write to it.

Owns: the check of each row. Invariant: what comes out is as safe on every transport as what a publisher sent.
"""

import logging
from collections.abc import Iterable

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Message
from tidings.core.names import check_channel, check_event, check_key
from tidings.wire import envelope

_log = logging.getLogger("tidings.log")

Row = tuple[int, str, int, bytes, str | None, str | None]
"""Position, channel, time in ms, data, event, key: as the schema has them."""


def checked(epoch: str, rows: Iterable[Row]) -> list[Message]:
    """Return the messages in `rows`. What is no message of ours is passed over, with one line in the log."""
    messages = []
    refused = 0
    for position, channel, time_ms, data, event, key in rows:
        try:
            if len(data) > limits.LOG_RECORD_BYTES:
                raise Refusal("body_too_large", f"It is {len(data)} bytes long.")
            check_channel(channel)
            if event is not None:
                check_event(event)
            if key is not None:
                check_key(key)
            messages.append(Message(epoch, position, channel, time_ms, envelope.check_json(data), event, key))
        except Refusal as refusal:
            refused += 1
            if refused == 1:
                _log.warning("passed over a message in the file position=%d: %s", position, refusal.detail)
    if refused > 1:
        _log.warning("passed over %d messages in the file", refused)
    return messages
