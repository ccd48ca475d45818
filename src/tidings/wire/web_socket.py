"""WebSocket frames (RFC 6455 §5) that the server sends, and the commands that it reads.

Owns: outbound frames, unmasked and shared by all subscribers; the JSON of both directions (spec §5.4).
Does not own: inbound frames and the handshake (a library's), what a command does (transports/).
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tidings.core.errors import Refusal
from tidings.core.message import Gap, Message
from tidings.wire import envelope, publication

SUBPROTOCOL: Final = "tidings.v1"
PING: Final = b"\x89\x00"
CLOSE: Final = b"\x88"  # how a close frame begins


def text(payload: bytes) -> bytes:
    """Return an unmasked text frame, one fragment (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def pong(payload: bytes) -> bytes:
    """Return the frame that answers a ping, with its payload of at most 125 bytes (RFC 6455 §5.5.3)."""
    return b"\x8a%c%b" % (len(payload), payload)


def close(code: int, reason: str) -> bytes:
    """Return a close frame (RFC 6455 §5.5.1); the reason is cut to what a control frame holds."""
    payload = code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode()
    return b"\x88%c%b" % (len(payload), payload)


def message(m: Message) -> bytes:
    """Return the frame that carries one message, rendered at the first call and kept with it."""
    rendered = m.web_socket
    if rendered is None:
        rendered = m.web_socket = text(b'{"message":%b}' % envelope.message(m))
    return rendered


def messages(ms: Sequence[Message]) -> bytes:
    """Return the frames of several messages, joined."""
    return message(ms[0]) if len(ms) == 1 else b"".join([message(m) for m in ms])


def gaps(gs: Sequence[Gap], _cursor: str) -> bytes:
    """Return the frames that tell `gs`. A client's cursor moves by the gap's own `resumed` (spec §3.3)."""
    return b"".join([text(b'{"gap":%b}' % envelope.gap(g)) for g in gs])


def say(word: str, value: dict[str, Any], ref: msgspec.Raw | None = None) -> bytes:
    """Return a frame whose first key is `word`, with the client's own `ref` repeated where it gave one."""
    payload = b'{"%b":%b' % (word.encode(), envelope.encode(value))
    return text(payload + (b"}" if ref is None else b',"ref":%b}' % bytes(ref)))


class Subscribe(msgspec.Struct, frozen=True):
    """`subscribe`: hear these channels too, from a cursor, some messages back, or from now on."""

    channels: list[str] | str | None = None
    channel: str | None = None
    after: str | None = None
    rewind: int | str | None = None

    @property
    def names(self) -> list[str]:
        """All channels that are named, unchecked."""
        listed = self.channels.split(",") if isinstance(self.channels, str) else list(self.channels or ())
        return listed if self.channel is None else [*listed, self.channel]


_COMMANDS: Final[dict[str, Any]] = {
    "subscribe": msgspec.json.Decoder(Subscribe | list[str] | str),
    "unsubscribe": msgspec.json.Decoder(Subscribe | list[str] | str),
    "publish": publication.decoder,
    "auth": msgspec.json.Decoder(dict[str, Any]),
    "ping": msgspec.json.Decoder(msgspec.Raw),
}
_frame_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Command:
    """One command of a client: its word, its value and the `ref` that the answer repeats."""

    __slots__ = ("ref", "value", "word")

    def __init__(self, word: str, value: Any, ref: msgspec.Raw | None) -> None:
        self.word = word
        self.value = value
        self.ref = ref


class BadCommand(Refusal):
    """A frame that is no command; `ref` is what could be read of it."""

    def __init__(self, code: str, detail: str, ref: msgspec.Raw | None = None) -> None:
        super().__init__(code, detail)
        self.ref = ref


def command(payload: bytes) -> Command:
    """Return the command in the text frame `payload`, or raise BadCommand."""
    try:
        fields = _frame_decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadCommand("bad_command", f"A command is one JSON object: {error}.") from None
    # A copy: a Raw is a view, and would keep the whole frame alive.
    ref = fields.pop("ref", None)
    if ref is not None and len(bytes(ref)) > 128:
        raise BadCommand("bad_command", "A ref is at most 128 bytes of JSON.")
    if len(fields) != 1:
        raise BadCommand(
            "bad_command", f"A command has one word and perhaps a ref, not {len(fields)} words.", ref
        )
    ((word, raw),) = fields.items()
    decoder = _COMMANDS.get(word)
    if decoder is None:
        known = ", ".join(_COMMANDS)
        raise BadCommand("unknown_command", f"There is no command {word[:40]!a}; there are {known}.", ref)
    try:
        value = decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadCommand("bad_command", f"The command {word} is malformed: {error}.", ref) from None
    if word in ("subscribe", "unsubscribe") and not isinstance(value, Subscribe):
        value = Subscribe(channels=value)
    return Command(word, value, ref)
