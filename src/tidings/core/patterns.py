"""Which channels a setting is for: `chat.*` is one segment, `chat.**` the rest.

Owns: patterns and the rules made of them. Does not own: what a rule says.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Generic, TypeVar

from tidings.core.errors import SettingsError
from tidings.core.limits import CHANNEL_NAME_BYTES

T = TypeVar("T")

_PATTERN = re.compile(rf"[A-Za-z0-9._~:*-]{{1,{CHANNEL_NAME_BYTES}}}").fullmatch
_REMEMBERED: Final = 10_000  # channels whose rule is looked up once


class SlowPolicy(StrEnum):
    """What becomes of a reader that is behind (spec §5.6)."""

    RESUME = "resume"
    LATEST = "latest"
    CLOSE = "close"


def compile_pattern(pattern: str) -> "re.Pattern[str]":
    """Return what matches the channels of `pattern`. Raises SettingsError when it is none.

    Segments are split by dots. `*` stands for one segment and `**`, only at the end, for one or more.
    """
    segments = pattern.split(".")
    stars = [segment for segment in segments if "*" in segment]
    if _PATTERN(pattern) is None or not {"*", "**"}.issuperset(stars) or "**" in segments[:-1]:
        raise SettingsError(
            f"{pattern!r} is not a channel pattern: `chat.*` is one segment, `chat.**` the rest, "
            "`**` all channels."
        )
    # No segment pattern can match a dot but the last, so that nothing is tried twice.
    parts = {"*": "[^.]+", "**": ".+"}
    return re.compile(r"\.".join(parts.get(segment, re.escape(segment)) for segment in segments))


class Rules(Generic[T]):
    """The value of the first pattern that matches a channel, or the default."""

    def __init__(self, rules: Sequence[tuple[str, T]], default: T) -> None:
        self._rules = [(compile_pattern(pattern), value) for pattern, value in rules]
        self._default = default
        self._known: dict[str, T] = {}

    def __bool__(self) -> bool:
        """Whether there is any rule at all."""
        return bool(self._rules)

    def of(self, channel: str) -> T:
        """Return the value for `channel`."""
        if not self._rules:
            return self._default
        known = self._known.get(channel)
        if known is not None:
            return known
        found = next((value for pattern, value in self._rules if pattern.fullmatch(channel)), self._default)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[channel] = found
        return found
