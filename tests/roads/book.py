"""What each listener was told, held against what was published.

Owns: the verdict on one listener, and its line in the table. Does not own: how it was told.
Invariant: from the first message that it shows, a listener shows every message, once, in the log's order.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

# What a person who opens a page waits for a first message at most.
PATIENCE_FOR_FIRST: Final = 5.0


@dataclass
class Heard:
    """What one listener was told. `first` is seconds from opening to the first message."""

    road: str
    client: str
    first: float | None = None
    ids: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    # What it said it was live over, in turn.
    transports: list[str] = field(default_factory=list)
    # Streams that were begun, the first included.
    connections: int = 0
    # The ids of what it published by the same road, as it was told them.
    sent: list[str] = field(default_factory=list)
    # Why something could not be published.
    unsent: list[str] = field(default_factory=list)
    # What its console or its loop complained of.
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.client} behind {self.road}"


@dataclass(frozen=True)
class Verdict:
    """How one listener fared."""

    heard: Heard
    lost: tuple[str, ...]
    repeated: tuple[str, ...]
    in_order: bool
    # What is wrong with what it published.
    missent: tuple[str, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Everything that was promised and not kept, in words."""
        heard, faults = self.heard, []
        if heard.first is None:
            return [f"{heard} never showed a message", *heard.troubles]
        if heard.first > PATIENCE_FOR_FIRST:
            faults.append(f"{heard} showed its first message after {heard.first:.1f} s")
        for what, ids in (("lost", self.lost), ("repeated", self.repeated)):
            if ids:
                faults.append(f"{heard} {what} {len(ids)} messages: {', '.join(ids[:5])}")
        if not self.in_order:
            faults.append(f"{heard} showed messages out of order")
        if heard.gaps:
            faults.append(f"{heard} was told of gaps where all is kept: {heard.gaps}")
        return faults + [f"{heard}: {trouble}" for trouble in [*self.missent, *heard.unsent, *heard.troubles]]


def judge(published: Sequence[str], heard: Heard, kept: Sequence[tuple[str, int]] | None = None) -> Verdict:
    """Return how `heard` fared; `published` are all ids, in the log's order.

    `kept` is what the log has of what it published itself, ids and numbers, where it published anything.
    """
    missent = [] if kept is None else _judge_sent(heard.sent, kept)
    if not heard.ids:
        return Verdict(heard, tuple(published), (), in_order=True, missent=tuple(missent))
    places = {id_: place for place, id_ in enumerate(published)}
    unknown = [id_ for id_ in heard.ids if id_ not in places]
    assert not unknown, f"{heard} showed what nobody published: {unknown[:5]}"
    had = Counter(heard.ids)
    first = min(places[id_] for id_ in heard.ids)
    order = [places[id_] for id_ in dict.fromkeys(heard.ids)]
    return Verdict(
        heard,
        lost=tuple(id_ for id_ in published[first:] if id_ not in had),
        repeated=tuple(id_ for id_, times in had.items() if times > 1),
        in_order=order == sorted(order),
        missent=tuple(missent),
    )


def _judge_sent(sent: Sequence[str], kept: Sequence[tuple[str, int]]) -> list[str]:
    """Each is awaited before the next, so the log has all of them, once and in their order."""
    numbers = [number for _, number in kept]
    if numbers != list(range(len(sent))):
        return [f"published {len(sent)}, and the log has {numbers}"]
    if [id_ for id_, _ in kept] != list(sent):
        return ["was told other ids than the log has"]
    return []


def table(verdicts: Sequence[Verdict]) -> str:
    """Return what people read: one line for each listener."""
    head = ("road", "client", "transport", "first", "messages", "lost", "repeated", "reconnects", "sent")
    lines = [head, *map(_line, verdicts)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = []
    for line in lines:
        texts = [text.ljust(width) for text, width in zip(line[:3], widths[:3], strict=True)]
        numbers = [text.rjust(width) for text, width in zip(line[3:], widths[3:], strict=True)]
        shown.append("  ".join([*texts, *numbers]).rstrip())
    return "\n".join(shown)


def _line(verdict: Verdict) -> tuple[str, ...]:
    heard = verdict.heard
    ways = changes(heard.transports)
    if len(ways) > 4:
        ways = [*ways[:2], "…", ways[-1]]
    return (
        heard.road,
        heard.client,
        " → ".join(ways) or "none",
        "never" if heard.first is None else f"{heard.first:.2f} s",
        f"{len(heard.ids):,}",
        str(len(verdict.lost)),
        str(len(verdict.repeated)),
        str(max(heard.connections - 1, 0)),
        str(len(heard.sent)),
    )


def changes(transports: Sequence[str]) -> list[str]:
    """Return the transports in the order they were taken, without what only repeats the one before."""
    return [t for at, t in enumerate(transports) if at == 0 or transports[at - 1] != t]
