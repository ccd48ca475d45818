"""Publishing over HTTP (spec §6): a POST to a channel's URL becomes a message.

Owns: what a request's body and headers mean as a message. Does not own: its number (logs/), its
delivery (hub.py).
"""

from asyncio import Future
from typing import Any

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.message import Draft, Receipt
from tidings.core.names import check_event, check_key, split_channels
from tidings.hub import Hub
from tidings.transports.carrier import Carrier
from tidings.wire import envelope, http
from tidings.wire.http import Request, Response


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
    if receipts.done():
        return _acknowledge(channels, receipts)
    pending = _Pending(channels, carrier)
    carrier.hold(pending)
    carrier.timer(limits.WRITE_TIMEOUT)
    receipts.add_done_callback(pending.appended)
    return None


def _data(request: Request) -> bytes:
    """Return the message's data: JSON verbatim, or text as a JSON string."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("unsupported_encoding", "Send the body as it is, without Content-Encoding.")
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


def _acknowledge(channels: tuple[str, ...], receipts: "Future[list[Receipt]]") -> Response:
    """Return 201, or 200 when the log had everything already. A refusal of the log is raised."""
    told = [envelope.receipt(receipt) for receipt in receipts.result()]
    answer: dict[str, Any] = dict(told[-1])
    if len(channels) > 1:
        answer["ids"] = {channel: one["id"] for channel, one in zip(channels, told, strict=True)}
        if not all("duplicate" in one for one in told):
            answer.pop("duplicate", None)
    return http.json_response(200 if "duplicate" in answer else 201, answer)


class _Pending:
    """A publish that waits for the log's answer."""

    __slots__ = ("_carrier", "_channels", "_gone")

    def __init__(self, channels: tuple[str, ...], carrier: Carrier) -> None:
        self._channels = channels
        self._carrier = carrier
        self._gone = False

    def appended(self, receipts: "Future[list[Receipt]]") -> None:
        """The log has answered."""
        if self._gone:
            return
        try:
            self._carrier.reply(_acknowledge(self._channels, receipts))
        except Refusal as refusal:
            self._carrier.reply(http.refusal(refusal))

    def expired(self) -> None:
        """The log does not answer: whether it has the message is unknown."""
        self._gone = True
        self._carrier.reply(
            http.refusal(
                Refusal("log_unavailable", "The log did not answer; ask again with the same Idempotency-Key.")
            )
        )

    def lost(self) -> None:
        """The publisher went away. What it sent may be kept all the same."""
        self._gone = True

    def received(self, data: bytes) -> None:
        """Never called: the next request waits in the connection."""

    def pushed_back(self) -> None:
        """Nothing is being written."""

    def took_again(self) -> None:
        """Nothing is being written."""

    def drain(self, _reconnect_within_ms: int) -> bool:
        """The log's answer is awaited first."""
        return False
