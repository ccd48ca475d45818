"""Server-Sent Events (WHATWG HTML §9.2, text/event-stream): writer and parser.

Owns: the bytes of events and comments, and reading them again. Does not own: when to send one.
Invariant: what is written after `data:` is one line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidings.core.message import Gap, Message
from tidings.wire import cursor as cursors
from tidings.wire import envelope

COMMENT: Final = b":\n\n"

# Raw line ends can stand in valid JSON only between tokens, where a space means the same. On this
# one transport they would end the field, so they become spaces here and nowhere else.
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


def message(m: Message) -> bytes:
    """Return the event that carries one message, rendered at the first call and kept with it."""
    rendered = m.event_stream
    if rendered is None:
        data = envelope.message(m)
        if b"\n" in data or b"\r" in data:
            data = data.translate(_ONE_LINE)
        event = f"event: {m.event}\n" if m.event is not None else ""
        rendered = b"id: %b\n%bdata: %b\n\n" % (cursors.of(m).encode(), event.encode(), data)
        m.event_stream = rendered
    return rendered


def messages(ms: Sequence[Message]) -> bytes:
    """Return the events of several messages, joined."""
    return message(ms[0]) if len(ms) == 1 else b"".join([message(m) for m in ms])


def gaps(gs: Sequence[Gap], cursor: str) -> bytes:
    """Return the events that tell `gs`; the last one's id is `cursor`, from where the stream goes on."""
    told = [b"event: gap\ndata: %b\n\n" % envelope.gap(g) for g in gs]
    told[-1] = b"id: %b\n%b" % (cursor.encode(), told[-1])
    return b"".join(told)


def opening(cursor: str | None, channels: Sequence[str], resumed: str, retry_ms: int) -> bytes:
    """Return the first bytes of a stream: how soon to come back, and `ready` (spec §5.3).

    The event's id is `cursor`, so that a stream that saw no message resumes. None stands for a
    cursor that was not one of ours and must not be handed on; the gap that follows has an id then.
    """
    identity = f"id: {cursor}\n" if cursor is not None else ""
    data = envelope.encode({"cursor": cursor or resumed, "channels": list(channels)})
    return b"retry: %d\n\n%bevent: ready\ndata: %b\n\n" % (retry_ms, identity.encode(), data)


def event(name: str, value: dict[str, Any], retry_ms: int | None = None) -> bytes:
    """Return one of the server's own events (`advice`, `end`), which has no id."""
    retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
    return b"%bevent: %b\ndata: %b\n\n" % (retry, name.encode(), envelope.encode(value))


def retry(retry_ms: int) -> bytes:
    """Return a stream that only says when to come back."""
    return b"retry: %d\n\n" % retry_ms


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a client reads it. `id` is the last id seen on the stream, also in earlier events."""

    event: str
    data: str
    id: str
    retry_ms: int | None = None


class Parser:
    """Reads a text/event-stream cut at any byte (WHATWG HTML §9.2.6)."""

    def __init__(self, most_bytes: int = 4 * 1024 * 1024) -> None:
        self._most_bytes = most_bytes
        self._buffer = b""
        self._started = False
        self._data: list[str] = []
        self._event = ""
        self._retry_ms: int | None = None
        self.last_id = ""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes.

        Raises ValueError when one event is longer than the bound.
        """
        buffer = self._buffer + data
        if not self._started:
            # A byte order mark may come in pieces, too.
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._buffer = buffer
                return []
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        # A CR at the end may be half of a CRLF: it waits for the next bytes.
        end = len(buffer) - 1 if buffer.endswith(b"\r") else len(buffer)
        lines = buffer[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._buffer = lines.pop() + buffer[end:]
        events = [event for line in lines if (event := self._line(line.decode(errors="replace"))) is not None]
        # A run of empty lines of data has no bytes, and costs memory all the same.
        if len(self._buffer) + sum(len(line) + 1 for line in self._data) > self._most_bytes:
            raise ValueError("an event on the stream is too long")
        return events

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self._retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        data, event, retry_ms = self._data, self._event, self._retry_ms
        self._data, self._event, self._retry_ms = [], "", None
        if not data and retry_ms is None:
            return None
        # An event without data is not dispatched by a browser; ours carries the retry hint it bore.
        return Event(event or ("message" if data else "retry"), "\n".join(data), self.last_id, retry_ms)
