"""Cursors as a client compares and joins them (spec §3.2), of logs with and without partitions.

Owns: whether a message was had, and where one stands that has taken it. Does not own: what a server makes of
a cursor (wire/cursor.py), gaps (place.py). Pure.
Invariant: two texts are compared only where they are of one life of the log and of one form.
"""

import re
from typing import Final

_POSITION: Final = r"(?:0|[1-9][0-9]{0,18})"
_CURSOR: Final = re.compile(
    rf"([a-z0-9]{{1,32}})(-{_POSITION}|(?:-{_POSITION}\.{_POSITION})+)", re.ASCII
).fullmatch

# By partition; the one key of a log without partitions is None.
Positions = dict[int | None, int]


def read(text: str) -> tuple[str, Positions] | None:
    """Return the epoch and the positions, or None where the text is no cursor."""
    match = _CURSOR(text)
    if match is None:
        return None
    epoch, places = match.groups()
    positions: Positions = {}
    for place in places[1:].split("-"):
        partition, dot, position = place.rpartition(".")
        positions[int(partition) if dot else None] = int(position)
    return epoch, positions


def had(cursor: str | None, message_id: str) -> bool:
    """Say whether who stands at `cursor` has had the message: it is in no partition above the cursor."""
    mine, its = read(cursor or ""), read(message_id)
    if mine is None or its is None or mine[0] != its[0]:
        return False
    # A partition that the cursor lacks was not had; so is it, too, where only one of the two has partitions.
    return all(position <= mine[1].get(partition, -1) for partition, position in its[1].items())


def further(cursor: str | None, message_id: str) -> str:
    """Return where one stands that stood at `cursor` and has taken the message.

    That is, in each partition, the higher of both positions: the same messages may come again in another
    interleaving, with ids that are higher in one partition and lower in another.
    """
    mine, its = read(cursor or ""), read(message_id)
    if mine is None or its is None or mine[0] != its[0] or (None in mine[1]) != (None in its[1]):
        return message_id
    joined = mine[1] | {at: max(position, mine[1].get(at, 0)) for at, position in its[1].items()}
    return its[0] + "".join(
        f"-{position}" if partition is None else f"-{partition}.{position}"
        # The one key of a log without partitions is never sorted beside another.
        for partition, position in sorted(joined.items(), key=lambda place: place[0] or 0)
    )


def earlier(one: str | None, other: str) -> str:
    """Return the cursor that comes first; of two that cannot be compared, the one that was told first."""
    return other if one is None or had(one, other) else one
