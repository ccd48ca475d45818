"""WebSocket: both ways over one connection (spec §5.4, RFC 6455).

Its cost: a connection each, and a handshake that something on the way may not pass on. Its merit:
two to four bytes of framing a message, and the client speaks on the same connection.

The handshake and inbound frames are the websockets library's, sans I/O; outbound messages are
rendered once and shared. The library's parser is made when bytes arrive and given back when nothing
is half-read, so that an idle connection holds none. Whole commands need none: they are cut out by hand,
and whatever is not exactly one is the library's.
"""

from asyncio import Future
from collections.abc import Callable
from types import GeneratorType
from typing import Final

import msgspec
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from tidings.core import limits
from tidings.core.errors import CODES, Refusal
from tidings.core.message import Receipt
from tidings.core.names import check_channels
from tidings.core.start import Earliest, Now, Start
from tidings.hub import Hub, Place, Subscriber
from tidings.transports.ask import Ask, after, rewind
from tidings.transports.carrier import Carrier
from tidings.wire import envelope, handshake, web_socket
from tidings.wire.http import Request, Response
from tidings.wire.publication import Publication

# What is parsed at once: 256 KiB of two-byte frames would become 40 MB of objects.
_SLICE: Final = 4096
_NO_FRAMES: Final[list[Frame]] = []  # shared by all that are idle; never added to
_ASK_AGAIN: Final = "The log cannot be asked where that cursor stands; ask again in a moment."
_IN_FLIGHT: Final = 64  # publishes that the log has not answered; beyond it nothing more is read


def open_socket(hub: Hub, ask: Ask, request: Request, carrier: Carrier) -> None:
    """Accept the handshake and begin, or refuse it with `bad_request` or `upgrade_required`."""
    head = handshake.accept(request)
    socket = WebSocket(hub, ask.channels, carrier)
    place = hub.places.locate(ask.channels, ask.start if ask.channels else Now())
    socket.begin(head, place)


class WebSocket(Subscriber):
    """One open WebSocket."""

    __slots__ = (
        "_carrier",
        "_empty_fragments",
        "_ended",
        "_erred_at",
        "_errors",
        "_fragments",
        "_frames",
        "_heard_at",
        "_held",
        "_hub",
        "_in_flight",
        "_partial",
        "_pinged",
        "_protocol",
        "_unread",
    )

    def __init__(self, hub: Hub, channels: tuple[str, ...], carrier: Carrier) -> None:
        super().__init__(channels, web_socket, carrier.writer, descriptor=carrier.descriptor)
        self._hub = hub
        self._carrier = carrier
        self._protocol: Protocol | None = None
        # What has come and is not yet parsed, and what is parsed and not yet obeyed.
        self._unread = b""
        self._frames: list[Frame] = _NO_FRAMES
        # A message in pieces: its bytes so far, and how many pieces. None between messages.
        self._partial: bytearray | None = None
        self._fragments = 0
        self._empty_fragments = 0
        self._errors = 0
        self._erred_at = 0.0
        self._in_flight = 0
        self._held = False
        self._pinged = False
        self._heard_at = hub.now()
        self._ended = False

    def begin(self, head: Response, place: Place) -> None:
        """Say where the connection begins, tell what is lost, and let the hub write the rest."""
        resumed = self._hub.places.cursor(place.position, self.channels, place.floors)
        first = web_socket.say("ready", {"cursor": place.cursor or resumed, "channels": list(self.channels)})
        self._carrier.timer(limits.PING_EVERY)
        if place.gaps:
            first += web_socket.gaps(place.gaps, resumed)
        self._carrier.open(self, head, first, takes_input=True)
        self._hub.subscribe(self, place)

    # --- what the client sends ----------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Take frames, cut anywhere."""
        self._heard_at = self._hub.now()
        self._pinged = False
        if self._protocol is None:
            if _is_lone_pong(data):
                return
            data = self._cut(data)
            if not data or self._ended:
                return
            self._protocol = Protocol(Side.SERVER, max_size=limits.MESSAGE_BYTES)
        self._unread += data
        self._read_on()

    def _cut(self, data: bytes) -> bytes:
        """Obey the whole text frames that `data` begins with, and return the rest.

        Only while nothing is half-read: then what comes is the beginning of a frame.
        """
        at = 0
        while not self._ended and not self.paused and not self._held:
            frame = web_socket.whole_text(data, at)
            if frame is None:
                break
            payload, at = frame
            self._text(payload)
        return data[at:] if at else data

    def _read_on(self) -> None:
        """Obey what has come, until it is all done or answers are not being read."""
        protocol = self._protocol
        while protocol is not None and not self._ended and not self.paused and not self._held:
            if self._frames:
                self._frame(self._frames.pop(0))
                continue
            if protocol.state is not OPEN:
                # The echo of a close, or the close that answers a broken frame: after the answers to
                # all that came before it. The library's pongs are left out: they are ours, in order.
                self._carrier.write(b"".join(w for w in protocol.data_to_send() if w[:1] == web_socket.CLOSE))
                if protocol.parser_exc is not None:
                    self._carrier.refused("bad_request")
                self._end()
            elif self._unread:
                piece, self._unread = self._unread[:_SLICE], self._unread[_SLICE:]
                protocol.receive_data(piece)
                if protocol.state is OPEN:
                    protocol.data_to_send()
                self._frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
            else:
                if self._partial is None and _is_between_frames(protocol):
                    self._protocol = None
                    self._frames = _NO_FRAMES
                return

    def _frame(self, frame: Frame) -> None:
        """Take one frame that the library found well-formed and in its place."""
        if frame.opcode in (Opcode.PONG, Opcode.CLOSE):
            return
        if frame.opcode is Opcode.PING:
            self._carrier.write(web_socket.pong(bytes(frame.data)))
        elif frame.opcode is Opcode.BINARY:
            self._fail(1003, "Commands are text frames.")
        elif frame.opcode is Opcode.TEXT and frame.fin:
            self._text(bytes(frame.data))
        else:
            self._fragment(frame)

    def _fragment(self, frame: Frame) -> None:
        """Collect a message in pieces. The library bounds its bytes, not how many pieces they come in."""
        if self._partial is None:
            self._partial = bytearray()
        self._partial += frame.data
        self._fragments += 1
        self._empty_fragments = 0 if frame.data else self._empty_fragments + 1
        if self._fragments > limits.FRAGMENTS or self._empty_fragments > limits.EMPTY_FRAGMENTS:
            self._fail(1009, "The message comes in too many fragments.")
        elif frame.fin:
            payload, self._partial = bytes(self._partial), None
            self._fragments = self._empty_fragments = 0
            self._text(payload)

    def _text(self, payload: bytes) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError:
            self._fail(1007, "Text frames are UTF-8.")
            return
        try:
            command = web_socket.command(payload)
        except web_socket.BadCommand as refusal:
            self._refuse(refusal, refusal.ref)
            return
        try:
            self._obey(command)
        except Refusal as refusal:
            self._refuse(refusal, command.ref)

    def _obey(self, command: web_socket.Command) -> None:
        match command.value:
            case Publication() as publication:
                self._publish(publication, command.ref)
            case web_socket.Subscribe() as asked if command.word == "subscribe":
                self._subscribe(asked, command.ref)
            case web_socket.Subscribe() as asked:
                names = check_channels(asked.names, limits.CHANNELS_PER_REQUEST)
                remaining = tuple(channel for channel in self.channels if channel not in names)
                self._hub.change_channels(self, remaining)
                self._say("ok", {"channels": list(remaining)}, command.ref)
            case _ if command.word == "ping":
                self._say("ok", {}, command.ref)
            case _:
                raise Refusal("not_implemented", "This server is open: it takes no tokens.")

    def _subscribe(self, asked: web_socket.Subscribe, ref: msgspec.Raw | None) -> None:
        names = check_channels(asked.names, limits.CHANNELS_PER_REQUEST)
        if not names:
            raise Refusal("bad_command", 'Name the channels: {"subscribe":{"channels":["news"]}}.')
        channels = tuple(sorted({*self.channels, *names}))
        if len(channels) > limits.CHANNELS_PER_REQUEST:
            raise Refusal(
                "too_many_channels", f"One connection hears at most {limits.CHANNELS_PER_REQUEST} channels."
            )
        self._hub.places.numbering.check(channels)
        new = tuple(channel for channel in names if channel not in self.channels)
        if not new:
            cursor = self._hub.places.cursor(self._hub.written(self), channels)
            self._say("ok", {"channels": list(channels), "cursor": cursor}, ref)
            return
        start = _start(asked, partitioned=self._hub.places.partitioned)
        if not self._hub.arrivals.knows(start):
            self._wait_for(start, lambda: self._listen(channels, new, start, ref), ref)
            return
        self._listen(channels, new, start, ref)

    def _wait_for(self, start: Start, go_on: Callable[[], None], ref: msgspec.Raw | None) -> None:
        """Go on when this node knows `start`. Nothing else is obeyed until then: answers keep their order."""
        self._held = True
        self._carrier.pause_reading()

        def told(known: bool) -> None:  # noqa: FBT001  called by position
            self._held = False
            if self._ended:
                return
            if known:
                go_on()
            else:
                self._say("error", envelope.problem(CODES["log_unavailable"], _ASK_AGAIN), ref)
            self._read_on()
            if not self._ended and not self.paused and not self._held and self._in_flight < _IN_FLIGHT:
                self._carrier.resume_reading()

        self._hub.arrivals.reach(start, told)

    def _listen(
        self, channels: tuple[str, ...], new: tuple[str, ...], start: Start, ref: msgspec.Raw | None
    ) -> None:
        place = self._hub.places.locate(new, start)
        position = min(place.position, self._hub.written(self)) if self.channels else place.position
        # The gaps first: a client that was cut behind the `ok` would hold a cursor that hides them.
        told = web_socket.gaps(place.gaps, self._hub.places.cursor(place.position, new))
        ok = web_socket.say(
            "ok", {"channels": list(channels), "cursor": self._hub.places.cursor(position, channels)}, ref
        )
        self._carrier.write(told + ok)
        self._hub.change_channels(self, channels, place)

    def _publish(self, publication: Publication, ref: msgspec.Raw | None) -> None:
        receipts = self._hub.publish((publication.draft(),))
        if receipts.done():
            self._published(receipts, ref)
            return
        self._in_flight += 1
        if self._in_flight == _IN_FLIGHT:
            self._carrier.pause_reading()
        receipts.add_done_callback(lambda done: self._published_later(done, ref))

    def _published_later(self, receipts: "Future[list[Receipt]]", ref: msgspec.Raw | None) -> None:
        self._in_flight -= 1
        if self._in_flight == _IN_FLIGHT - 1 and not self.paused and not self._held:
            self._carrier.resume_reading()
        self._published(receipts, ref)

    def _published(self, receipts: "Future[list[Receipt]]", ref: msgspec.Raw | None) -> None:
        error = receipts.exception()
        if self._ended:
            return
        if error is None:
            self._say("ok", envelope.receipt(receipts.result()[0]), ref)
        elif isinstance(error, Refusal):
            self._say("error", envelope.problem(error.kind, error.detail), ref)
        else:
            raise error

    def _refuse(self, refusal: Refusal, ref: msgspec.Raw | None) -> None:
        self._carrier.refused(refusal.kind.code)
        self._say("error", envelope.problem(refusal.kind, refusal.detail), ref)
        now = self._hub.now()
        if now - self._erred_at > limits.COMMAND_ERRORS_FORGET:
            self._errors = 0
        self._erred_at = now
        self._errors += 1
        if self._errors >= limits.COMMAND_ERRORS:
            self._close(CODES["bad_command"].close, f"{self._errors} commands were refused.")

    # --- how it goes on, and ends -------------------------------------------------------------

    def _say(self, word: str, value: dict[str, object], ref: msgspec.Raw | None = None) -> None:
        self._carrier.write(web_socket.say(word, value, ref))

    def expired(self) -> None:
        """Ping; who has sent nothing when the grace is over is gone. Who takes no bytes is cut."""
        if self.paused:
            self._carrier.refused("too_slow")
            self._carrier.abort()
            return
        silence = self._hub.now() - self._heard_at
        if self._pinged:
            self._close(4004, "No pong came.")
        elif silence < limits.PING_EVERY - 1:
            # It has spoken, so it is there: no ping is needed yet.
            self._carrier.timer(limits.PING_EVERY - silence)
        else:
            self._pinged = True
            self._carrier.timer(limits.PONG_GRACE)
            self._carrier.write(web_socket.PING)

    def _end(self) -> None:
        self._ended = True
        self._hub.unsubscribe(self)
        self._carrier.finish()

    def _fail(self, code: int, reason: str) -> None:
        """Close because of what the client sent, which no command can be read from."""
        self._carrier.refused("bad_request")
        self._close(code, reason)

    def _close(self, code: int, reason: str) -> None:
        """Close with `code`; what the client still sends is not looked at (RFC 6455 §7.1.7)."""
        self._hub.unsubscribe(self)
        self._carrier.write(web_socket.close(code, reason))
        self._end()

    def advise(self, advice: dict[str, int]) -> None:
        """Give the client a hint."""
        self._say("advice", dict(advice))

    def drain(self, reconnect_within_ms: int, code: str) -> bool:
        """Say when to come back, and close; not before all that was published is written."""
        if code == "moved" and self.paused:
            # Of what it is not taking, nothing more is true here.
            self._hub.unsubscribe(self)
            self._carrier.abort()
            return True
        # Nothing may be carried into another life: a channel added now would move the cursor past the gap.
        if code != "moved" and (self._hub.is_behind(self) or self._in_flight):
            return False
        self._hub.unsubscribe(self)
        self.advise({"reconnect_within_ms": reconnect_within_ms})
        close = CODES[code].close
        self._say("end", {"code": close, "reason": f"{CODES[code].title}: come back."})
        self._close(close, code.replace("_", " "))
        return True

    def pushed_back(self) -> None:
        """Leave the cohort with a cursor, and hear nothing that would need an answer."""
        self._carrier.timer(limits.WRITE_TIMEOUT)
        self._carrier.pause_reading()
        # Only who was live has fallen behind. Who catches up is given its time, and who is being
        # told its end is not told another.
        was_live = self.cohort is not None
        self._hub.pause(self)
        if was_live and self._hub.places.closes_slow(self.channels):
            self._carrier.refused("too_slow")
            self._close(CODES["too_slow"].close, "too slow")

    def took_again(self) -> None:
        """Catch up."""
        self._pinged = False
        self._carrier.timer(limits.PING_EVERY)
        self._hub.resume(self)
        self._read_on()
        if self._in_flight < _IN_FLIGHT and not self.paused and not self._held:
            self._carrier.resume_reading()

    def lost(self) -> None:
        """Write nothing more."""
        self._ended = True
        self._hub.unsubscribe(self)


def _start(asked: web_socket.Subscribe, *, partitioned: bool) -> Start:
    if asked.after is not None:
        return Earliest() if asked.after == "earliest" else after(asked.after, partitioned=partitioned)
    return Now() if asked.rewind is None else rewind(asked.rewind)


def _is_lone_pong(data: bytes) -> bool:
    """Whether `data` is exactly one masked pong: what an idle client sends, and no parser is needed for."""
    return len(data) >= 6 and data[0] == 0x8A and data[1] >= 0x80 and len(data) == 6 + (data[1] & 0x7F)


def _is_between_frames(protocol: Protocol) -> bool:
    """Whether the library's parser waits for the first byte of a frame, and holds nothing."""
    parser = protocol.parser
    waits_in = parser.gi_yieldfrom if isinstance(parser, GeneratorType) else None
    return getattr(waits_in, "__name__", "") == "at_eof"
