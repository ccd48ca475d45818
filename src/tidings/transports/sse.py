"""Server-Sent Events: one request, and an answer that never ends (spec §5.3, WHATWG HTML §9.2).

Its cost: one way only, and a connection each. Its merit: a browser reads it with one line of code,
comes back by itself and says where it was; to everything on the way it is one long HTTP answer.

The stream is delimited by its close, not chunked: eight bytes less a message, and a proxy that
speaks HTTP/1.0 to us passes it on as well.
"""

from random import randrange, uniform
from typing import Final

from tidings.core import limits
from tidings.core.errors import CODES
from tidings.hub import Hub, Place, Subscriber
from tidings.transports.ask import Ask
from tidings.transports.carrier import Carrier
from tidings.wire import event_stream
from tidings.wire.http import Response

_HEAD: Final = Response(
    200,
    (
        ("Content-Type", "text/event-stream; charset=utf-8"),
        # no-transform: a compressing proxy would hold events back to compress them together.
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
    ),
)


def head() -> Response:
    """Return the head of a stream, for HEAD requests and refusals that must keep an EventSource alive."""
    return _HEAD


def open_stream(hub: Hub, ask: Ask, carrier: Carrier) -> None:
    """Begin to stream what follows the client's cursor."""
    stream = EventStream(hub, ask.channels, carrier)
    place = hub.places.locate(ask.channels, ask.start)
    stream.begin(_HEAD, place)


class EventStream(Subscriber):
    """One open stream."""

    __slots__ = ("_carrier", "_hub", "_rotates_at")

    def __init__(self, hub: Hub, channels: tuple[str, ...], carrier: Carrier) -> None:
        super().__init__(channels, event_stream, carrier.writer, descriptor=carrier.descriptor)
        self._hub = hub
        self._carrier = carrier
        # Streams end by themselves, at different ages: a deploy then looks like any other day.
        age = limits.STREAM_AGE * uniform(1 - limits.STREAM_AGE_SPREAD, 1 + limits.STREAM_AGE_SPREAD)  # noqa: S311  jitter, not a secret
        self._rotates_at = hub.now() + age

    def begin(self, head: Response, place: Place) -> None:
        """Say where the stream begins, tell what is lost, and let the hub write the rest."""
        resumed = self._hub.places.cursor(place.position, self.channels, place.floors)
        first = event_stream.opening(place.cursor, self.channels, resumed, limits.RETRY_MS)
        if place.gaps:
            first += event_stream.gaps(place.gaps, resumed)
        self._carrier.timer(limits.COMMENT_EVERY)
        self._carrier.open(self, head, first, takes_input=False)
        self._hub.subscribe(self, place)

    def expired(self) -> None:
        """A comment keeps the connection from looking dead; one that takes no bytes at all is cut."""
        if self.paused:
            self._carrier.refused("too_slow")
            self._carrier.abort()
            return
        if self._hub.now() >= self._rotates_at and not self._hub.is_behind(self):
            self._end("moved", "This stream has run its time; come back.", limits.RETRY_MS)
            return
        quiet = self._hub.quiet_for(self)
        if quiet < limits.COMMENT_EVERY / 2:
            # A busy stream needs no comment. Somewhat early, so that a channel's subscribers, all
            # written to at the same moment, are not due at the same moment.
            self._carrier.timer((limits.COMMENT_EVERY - quiet) * uniform(0.8, 1.0))  # noqa: S311  jitter, not a secret
            return
        self._carrier.timer(limits.COMMENT_EVERY)
        self._carrier.write(event_stream.COMMENT)

    def pushed_back(self) -> None:
        """Leave the cohort with a cursor: the history, not a queue, keeps what comes meanwhile."""
        self._carrier.timer(limits.WRITE_TIMEOUT)
        # Only who was live has fallen behind. Who catches up is given its time, and who is being
        # told its end is not told another.
        was_live = self.cohort is not None
        self._hub.pause(self)
        if was_live and self._hub.places.closes_slow(self.channels):
            self._carrier.refused("too_slow")
            self._end("too_slow", "This reader is too slow for the channel; come back.", limits.RETRY_MS)

    def took_again(self) -> None:
        """Catch up."""
        self._carrier.timer(limits.COMMENT_EVERY)
        self._hub.resume(self)

    def advise(self, advice: dict[str, int]) -> None:
        """Give the client a hint."""
        self._carrier.write(event_stream.event("advice", advice))

    def drain(self, reconnect_within_ms: int, code: str) -> bool:
        """Say when to come back, and end; not before all that was published is written."""
        if code == "moved" and self.paused:
            # Of what it is not taking, nothing more is true here.
            self._hub.unsubscribe(self)
            self._carrier.abort()
            return True
        if self._hub.is_behind(self):
            return False
        self._hub.unsubscribe(self)
        self.advise({"reconnect_within_ms": reconnect_within_ms})
        self._end(code, f"{CODES[code].title}: come back.", randrange(reconnect_within_ms))  # noqa: S311  jitter, not a secret
        return True

    def _end(self, code: str, reason: str, retry_ms: int) -> None:
        self._hub.unsubscribe(self)
        self._carrier.write(
            event_stream.event("end", {"code": CODES[code].close, "reason": reason}, retry_ms)
        )
        self._carrier.finish()

    def lost(self) -> None:
        """Write nothing more."""
        self._hub.unsubscribe(self)

    def received(self, data: bytes) -> None:
        """Never called: a stream goes one way."""


def only_retry(retry_ms: int) -> Response:
    """Return a whole stream that only says when to come back: what an overloaded server answers.

    A browser's EventSource gives up for good on any status but 200.
    """
    return Response(200, _HEAD.headers, event_stream.retry(retry_ms))
