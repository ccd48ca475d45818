"""Channel names and event names: what they may be made of.

Owns: the check, done once where a name enters. Does not own: who may use a channel.
Invariant: a checked name is safe in a URL path, a header, a log line and an event-stream field as it is.
"""

import re
from collections.abc import Sequence

from tidings.core.errors import Refusal
from tidings.core.limits import CHANNEL_NAME_BYTES, EVENT_NAME_BYTES, KEY_BYTES

_NAME = re.compile(rf"[A-Za-z0-9._~:-]{{1,{CHANNEL_NAME_BYTES}}}").fullmatch
_EVENT = re.compile(rf"[A-Za-z0-9._~:-]{{1,{EVENT_NAME_BYTES}}}").fullmatch
# Visible ASCII only: a key stands in a JSON string and in a map's key, and is shown in logs.
_KEY = re.compile(rf"[!-~]{{1,{KEY_BYTES}}}").fullmatch

# The server's own words on an event stream (spec §5.3): a message that bore one would be taken for
# ours. The last two are what a browser's EventSource calls the state of its connection.
RESERVED_EVENTS = frozenset({"ready", "gap", "advice", "end", "error", "open"})


def check_channel(name: str) -> str:
    """Return `name`, or refuse it with `bad_channel`."""
    if _NAME(name) is None:
        raise Refusal(
            "bad_channel",
            f"A channel name is 1 to {CHANNEL_NAME_BYTES} characters of A-Z a-z 0-9 . _ ~ : - and "
            f"{_quoted(name)} is not one.",
        )
    return name


def check_channels(names: Sequence[str], most: int) -> tuple[str, ...]:
    """Return the checked names sorted and each once, so that equal sets are equal tuples.

    Refuses with `bad_channel` or `too_many_channels`.
    """
    if len(names) > most:
        raise Refusal("too_many_channels", f"{len(names)} channels were asked for; the limit is {most}.")
    return tuple(sorted({check_channel(name) for name in names}))


def split_channels(names: str, most: int) -> tuple[str, ...]:
    """Return the checked names of a comma-separated list, in order and each once."""
    # Counted before they are split: a megabyte of commas is not worth a list.
    if names.count(",") >= most:
        raise Refusal(
            "too_many_channels", f"{names.count(',') + 1} channels were asked for; the limit is {most}."
        )
    return check_channels(names.split(","), most)


def check_event(event: str) -> str:
    """Return `event`, or refuse it with `bad_event`."""
    if _EVENT(event) is None:
        raise Refusal(
            "bad_event",
            f"An event name is 1 to {EVENT_NAME_BYTES} characters of A-Z a-z 0-9 . _ ~ : - and "
            f"{_quoted(event)} is not one.",
        )
    if event in RESERVED_EVENTS:
        raise Refusal("bad_event", f"The event name {event!r} is reserved for the server's own events.")
    return event


def check_key(key: str) -> str:
    """Return `key` (a state key or an idempotency key), or refuse it with `bad_key`."""
    if _KEY(key) is None:
        raise Refusal(
            "bad_key", f"A key is 1 to {KEY_BYTES} visible ASCII characters and {_quoted(key)} is not one."
        )
    return key


def _quoted(text: str) -> str:
    """Return at most 40 characters of what a peer sent, escaped to printable ASCII."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
