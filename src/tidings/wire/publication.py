"""A message as its publisher writes it in JSON: a WebSocket's `publish`, a line of a batch (spec §6).

Owns: its fields, and the check of each. Does not own: where it came from.
Invariant: a Draft made here is safe on every transport as it is.
"""

import msgspec

from tidings.core.errors import Refusal
from tidings.core.message import Draft
from tidings.core.names import check_channel, check_event, check_key
from tidings.wire import envelope


class Publication(msgspec.Struct, frozen=True):
    """What a publisher says of one message; `data` is kept byte for byte."""

    channel: str
    data: msgspec.Raw
    event: str | None = None
    key: str | None = None
    idempotency_key: str | None = None

    def draft(self) -> Draft:
        """Return the checked message, or refuse it."""
        return Draft(
            check_channel(self.channel),
            envelope.check_json(bytes(self.data)),
            None if self.event is None else check_event(self.event),
            None if self.key is None else check_key(self.key),
            None if self.idempotency_key is None else check_key(self.idempotency_key),
        )


decoder = msgspec.json.Decoder(Publication)


def read_line(line: bytes) -> Draft:
    """Return the message in one line of a batch, or refuse it with `bad_json` or what is wrong in it."""
    try:
        return decoder.decode(line).draft()
    except RecursionError:
        raise Refusal("bad_json", "The line is nested too deep.") from None
    except msgspec.DecodeError as error:
        raise Refusal(
            "bad_json", f'A line is an object like {{"channel":"news","data":1}}: {error}.'
        ) from None
