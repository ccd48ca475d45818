"""Messages, answers and errors as JSON (spec §4): one envelope on every transport.

Owns: the JSON of everything. Does not own: how a transport frames it (event_stream.py,
web_socket.py, http.py).
Invariant: a message's `data` is the publisher's text, byte for byte.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidings.core.errors import Code, Refusal
from tidings.core.message import Gap, Message, Receipt
from tidings.wire import cursor as cursors

_encode = msgspec.json.Encoder().encode
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)


def check_json(text: bytes) -> bytes:
    """Return `text` stripped of surrounding white space, or refuse it with `bad_json` (RFC 8259).

    NaN, lone surrogates, invalid UTF-8 and nesting beyond a thousand levels are refused: some
    subscriber's parser would fail on them.
    """
    try:
        text.decode()  # msgspec passes over the bytes of strings that it need not build
        return bytes(_raw_decoder.decode(text))
    except UnicodeDecodeError as error:
        raise Refusal("bad_json", f"The data is not UTF-8: {error.reason} at byte {error.start}.") from None
    except RecursionError:
        raise Refusal("bad_json", "The data is nested too deep.") from None
    except msgspec.DecodeError as error:
        raise Refusal("bad_json", f"The data is not JSON: {_reason(error)}.") from None


def _reason(error: msgspec.DecodeError) -> str:
    # What it says of half a surrogate pair (RFC 8259 §8.2), too.
    said = str(error)
    return "it ends too early, or half a surrogate pair stands alone" if "truncated" in said else said


def text_as_json(text: bytes) -> bytes:
    """Return UTF-8 `text` as a JSON string, or refuse it with `bad_json`."""
    try:
        return _encode(text.decode())
    except UnicodeDecodeError as error:
        raise Refusal("bad_json", f"The text is not UTF-8: {error.reason} at byte {error.start}.") from None


def message(m: Message) -> bytes:
    """Return the JSON of one message, rendered at the first call and kept with it."""
    rendered = m.envelope
    if rendered is None:
        # Names, events and keys were charset-checked where they entered. Only a key may hold a
        # character (a quote, a backslash) that JSON escapes.
        event = f',"event":"{m.event}"' if m.event is not None else ""
        key = f',"key":{_encode(m.key).decode()}' if m.key is not None else ""
        head = f'{{"id":"{cursors.of(m)}","channel":"{m.channel}","time":{m.time_ms}{event}{key},"data":'
        rendered = m.envelope = b"%b%b}" % (head.encode(), m.data)
    return rendered


def gap(g: Gap) -> bytes:
    """Return the JSON of one gap."""
    return _encode(
        {
            "channel": g.channel,
            "after": g.after,
            "resumed": cursors.encode(g.resumed),
            "reason": g.reason.value,
        }
    )


def answer(
    messages: Sequence[Message],
    cursor: str,
    gaps: Sequence[Gap] = (),
    *,
    more: bool = False,
    advice: Mapping[str, int] | None = None,
) -> bytes:
    """Return the body that answers a poll (spec §5.1)."""
    parts = [
        b'{"messages":[',
        b",".join([message(m) for m in messages]),
        b'],"cursor":"',
        cursor.encode(),
        b'"',
    ]
    if gaps:
        parts += [b',"gap":[', b",".join([gap(g) for g in gaps]), b"]"]
    if more:
        parts.append(b',"more":true')
    if advice is not None:
        parts += [b',"advice":', _encode(advice)]
    parts.append(b"}")
    return b"".join(parts)


def receipt(r: Receipt) -> dict[str, Any]:
    """Return what a publisher is told of one message (spec §6.2)."""
    told: dict[str, Any] = {"id": cursors.encode(r.cursor), "durability": r.durability.value}
    if r.duplicate:
        told["duplicate"] = True
    return told


def problem(kind: Code, detail: str) -> dict[str, Any]:
    """Return an error as RFC 9457 problem details (spec §7)."""
    return {
        "type": f"urn:tidings:error:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "code": kind.code,
        "detail": detail,
        "retry": kind.retry,
    }


def encode(value: Mapping[str, Any]) -> bytes:
    """Return any JSON object as bytes."""
    return _encode(value)
