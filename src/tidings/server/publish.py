"""Publishing over HTTP (spec §6): a POST to a channel's URL becomes a message.

Owns: what a request's body and headers mean as a message. Does not own: its number (logs/), its
delivery (hub.py).
"""

from asyncio import Future
from collections.abc import Callable
from typing import Any, Final

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Draft, Receipt
from tidings.core.names import check_event, check_key, split_channels
from tidings.hub import Hub
from tidings.transports.carrier import Awaited, Carrier
from tidings.wire import envelope, http, publication
from tidings.wire.http import Request, Response

_NDJSON: Final = "application/x-ndjson"


def publish(hub: Hub, request: Request, names: str, carrier: Carrier) -> Response | None:
    """Publish the request's body; None where the log's answer is still awaited, and `carrier` is held."""
    channels = split_channels(names, limits.CHANNELS_PER_REQUEST)
    data = _data(request)
    event = request.query.get("event")
    key = request.query.get("key")
    idempotency_key = request.headers.get("idempotency-key")
    if event is not None:
        check_event(event)
    if key is not None:
        check_key(key)
    if idempotency_key is not None:
        check_key(idempotency_key)
    receipts = hub.publish([Draft(channel, data, event, key, idempotency_key) for channel in channels])
    return _answer(receipts, carrier, lambda told: _acknowledge(channels, told))


def publish_batch(hub: Hub, request: Request, carrier: Carrier) -> Response | None:
    """Publish each line of the request's body (spec §6.4), and answer each on its own line, in order.

    A line that is refused does not hold up the others.
    """
    _identity(request)
    kind = request.headers.get("content-type", _NDJSON).partition(";")[0].strip().lower()
    if kind not in (_NDJSON, "application/jsonl", "application/json"):
        raise Refusal("unsupported_media_type", f"Say Content-Type: {_NDJSON}.", (("Accept", _NDJSON),))
    # Counted before they are split: a body of line ends is not worth a list.
    if request.body.count(b"\n") > limits.BATCH_LINES:
        raise Refusal(
            "batch_too_large", f"A batch is at most {limits.BATCH_LINES} lines, empty ones included."
        )
    lines = [line for line in request.body.split(b"\n") if line.strip()]
    if len(lines) > limits.BATCH_LINES:
        raise Refusal("batch_too_large", f"A batch is at most {limits.BATCH_LINES} lines.")
    read = [_read_line(line) for line in lines]
    receipts = hub.publish([draft for draft in read if isinstance(draft, Draft)])

    def told(receipts: list[Receipt]) -> Response:
        rest = iter(receipts)
        answers = [
            envelope.problem(line.kind, line.detail)
            if isinstance(line, Refusal)
            else envelope.receipt(next(rest))
            for line in read
        ]
        body = b"".join([envelope.encode(answer) + b"\n" for answer in answers])
        return Response(200, (("Content-Type", _NDJSON), http.NO_STORE), body)

    return _answer(receipts, carrier, told)


def _read_line(line: bytes) -> Draft | Refusal:
    if len(line) > limits.BODY_BYTES:
        return Refusal("body_too_large", f"A line is at most {limits.BODY_BYTES} bytes.")
    try:
        return publication.read_line(line)
    except Refusal as refusal:
        return refusal


def _answer(
    receipts: "Future[list[Receipt]]", carrier: Carrier, told: Callable[[list[Receipt]], Response]
) -> Response | None:
    if receipts.done():
        return told(receipts.result())
    pending = _Pending(carrier, told)
    carrier.hold(pending, limits.PUBLISH_TIMEOUT)
    receipts.add_done_callback(pending.appended)
    return None


def _identity(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("unsupported_encoding", "Send the body as it is, without Content-Encoding.")


def _data(request: Request) -> bytes:
    """Return the message's data: JSON verbatim, or text as a JSON string."""
    _identity(request)
    kind, _, parameters = request.headers.get("content-type", "application/json").partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2].partition(";")[0]
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise Refusal("unsupported_media_type", "Bodies are UTF-8.")
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return envelope.check_json(request.body)
    if kind == "text/plain":
        return envelope.text_as_json(request.body)
    raise Refusal(
        "unsupported_media_type",
        "Say Content-Type: application/json, or text/plain for text that becomes a JSON string.",
        (("Accept", "application/json, text/plain"),),
    )


def _acknowledge(channels: tuple[str, ...], receipts: list[Receipt]) -> Response:
    """Return 201, or 200 when the log had everything already."""
    told = [envelope.receipt(receipt) for receipt in receipts]
    answer: dict[str, Any] = dict(told[-1])
    if len(channels) > 1:
        answer["ids"] = {channel: one["id"] for channel, one in zip(channels, told, strict=True)}
        if not all("duplicate" in one for one in told):
            answer.pop("duplicate", None)
    return http.json_response(200 if "duplicate" in answer else 201, answer)


class _Pending(Awaited):
    """A publish that waits for the log's answer."""

    __slots__ = ("_carrier", "_gone", "_told")

    def __init__(self, carrier: Carrier, told: Callable[[list[Receipt]], Response]) -> None:
        self._carrier = carrier
        self._told = told
        self._gone = False

    def appended(self, receipts: "Future[list[Receipt]]") -> None:
        """The log has answered."""
        if self._gone:
            receipts.exception()  # looked at, so that nobody says it never was
            return
        try:
            self._carrier.reply(self._told(receipts.result()))
        except Refusal as refusal:
            self._refuse(refusal)

    def expired(self) -> None:
        """The log does not answer: whether it has the message is unknown."""
        self._gone = True
        self._refuse(
            Refusal("log_unavailable", "The log did not answer; ask again with the same Idempotency-Key.")
        )

    def _refuse(self, refusal: Refusal) -> None:
        self._carrier.refused(refusal.kind.code)
        self._carrier.reply(http.refusal(refusal))

    def lost(self) -> None:
        """The publisher went away. What it sent may be kept all the same."""
        self._gone = True

    def drain(self, _reconnect_within_ms: int, _code: str) -> bool:
        """The log's answer is awaited first."""
        return False
