"""The server's word that it has a message.

Owns: the receipt, and its reading. Does not own: how it was asked for (publisher.py, publishing.py).
"""

from dataclasses import dataclass

import msgspec

from tidings.client.batches import Outgoing
from tidings.client.items import read


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server's word that it has the message."""

    id: str
    # The medium it had reached when this was said: `memory`, `stored` or `synced`.
    durability: str
    # The same idempotency key had been used before on this channel: nothing was published now.
    duplicate: bool


class _Answer(msgspec.Struct):
    id: str
    durability: str
    duplicate: bool = False


def read_receipt(text: bytes, message: Outgoing) -> Receipt:
    """Return the receipt that this JSON is, or raise BadAnswer."""
    answer = read(text, _Answer)
    # A key of our own making can only be known from an earlier try of this very message.
    return Receipt(answer.id, answer.durability, answer.duplicate and message.own_key)
