"""WebSocket frames (RFC 6455 §5) that the server sends, and the commands that it reads.

Owns: outbound frames, unmasked and shared by all subscribers; the JSON of both directions (spec §5.4); of
inbound frames the simplest, whole. Does not own: all other inbound frames and the handshake (a library's),
what a command does (transports/).
"""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

try:
    from websockets.speedups import apply_mask
except ImportError:  # where it was installed without its compiled part
    from websockets.utils import apply_mask

from tidings.core import limits
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


def whole_text(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the payload of the frame that begins at `at`, and where it ends, or None.

    None is said of all but a whole, masked text message in one frame of less than 64 KiB (RFC 6455 §5.2):
    a subset of what the library takes, so that nothing passes here that it would refuse.
    """
    left = len(data) - at
    if left < 6 or data[at] != 0x81 or data[at + 1] < 0x80:
        return None
    size = data[at + 1] - 0x80
    begin = at + 2
    if size == 126:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        begin = at + 4
    elif size == 127:
        return None
    end = begin + 4 + size
    if end > len(data) or size > limits.MESSAGE_BYTES:
        return None
    return apply_mask(data[begin + 4 : end], data[begin : begin + 4]), end


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


class _Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    publish: publication.Publication
    ref: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_REF_BYTES: Final = 128
_publish_decoder = msgspec.json.Decoder(_Publish)
_COMMANDS: Final[dict[str, Any]] = {
    "subscribe": msgspec.json.Decoder(Subscribe | list[str] | str),
    "unsubscribe": msgspec.json.Decoder(Subscribe | list[str] | str),
    "publish": publication.decoder,
    "auth": msgspec.json.Decoder(dict[str, Any]),
    "ping": msgspec.json.Decoder(msgspec.Raw),
}
_frame_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Command:
    """One command of a client: its word, its value and the `ref` that the answer repeats, a copy."""

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
    if payload.startswith(b'{"publish"'):
        # Most of what clients say, in one pass. Whatever is wrong with it is said below.
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            said = _publish_decoder.decode(payload)
            if said.ref is msgspec.UNSET:
                return Command("publish", said.publish, None)
            if len(bytes(said.ref)) <= _REF_BYTES:
                return Command("publish", said.publish, said.ref.copy())
    try:
        fields = _frame_decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadCommand("bad_command", f"A command is one JSON object: {_reason(error)}.") from None
    ref = fields.pop("ref", None)
    if ref is not None:
        if len(bytes(ref)) > _REF_BYTES:
            raise BadCommand("bad_command", f"A ref is at most {_REF_BYTES} bytes of JSON.")
        ref = ref.copy()  # a Raw is a view, and would keep the whole frame alive
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
        raise BadCommand("bad_command", f"The command {word} is malformed: {_reason(error)}.", ref) from None
    if word in ("subscribe", "unsubscribe") and not isinstance(value, Subscribe):
        value = Subscribe(channels=value)
    return Command(word, value, ref)


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
