"""Who is there, and who only looks so: heartbeats, their answers, and deadlines (spec §5.3, §5.4, §5.6).

Time is simulated but in the last test; see simulation.py.
"""

import asyncio
import gc
import random
import socket
import weakref
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import cast

import pytest

import raw
from features.simulation import Clock, Simulation, Socket
from tidings.core import limits
from tidings.server.config import Settings
from tidings.server.connection import Connection
from tidings.server.listener import accept, bind
from tidings.server.wheel import TICK, Wheel

COMMENT = b"\n\n:\n\n"
PING = b"\x89\x00"
LATE = 2 * TICK  # the wheel's own promise
PONG = raw.frame(raw.PONG)


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    simulation = await Simulation.begun()
    yield simulation
    await simulation.close()


def comments(stream: Socket) -> list[float]:
    """Return when comments came, each a write of its own."""
    return [at for at, data in stream.sent if data == b":\n\n"]


def pings(web_socket: Socket) -> list[float]:
    return [at for at, data in web_socket.sent if data == PING]


def close_codes(web_socket: Socket) -> list[int]:
    """Return the codes of all close frames that were sent, each a write of its own."""
    return [int.from_bytes(data[2:4], "big") for _, data in web_socket.sent if data[:1] == b"\x88"]


# --- event streams ---------------------------------------------------------------------------------


async def test_a_silent_stream_has_a_comment_every_15_seconds(simulation: Simulation) -> None:
    stream = simulation.stream("news")
    begun = simulation.now
    simulation.pass_time(100)
    times = comments(stream)
    assert len(times) == 6
    for before, at in pairwise([begun, *times]):
        assert limits.COMMENT_EVERY <= at - before <= limits.COMMENT_EVERY + LATE


async def test_a_busy_stream_has_no_comments(simulation: Simulation) -> None:
    streams = [simulation.stream("news") for _ in range(10)]
    for _ in range(400):
        simulation.pass_time(1)
        await simulation.publish("news")
    for stream in streams:
        assert comments(stream) == []
        assert stream.text.count(b"\ndata: ") == 1 + 400


@pytest.mark.parametrize("every", [2, 7, 8, 13, 16, 40])
async def test_whatever_the_pace_no_stream_is_silent_for_more_than_15_seconds(
    simulation: Simulation, every: float
) -> None:
    streams = [simulation.stream("news") for _ in range(5)]
    for _ in range(50):
        simulation.pass_time(every)
        if all(stream.is_open() for stream in streams):
            await simulation.publish("news")
    for stream in streams:
        times = [at for at, _ in stream.sent if at < (stream.closed_at or simulation.now)]
        assert max(after - before for before, after in pairwise(times)) <= limits.COMMENT_EVERY + LATE


async def test_comments_of_a_channel_that_falls_silent_do_not_all_come_at_once(
    simulation: Simulation,
) -> None:
    streams = [simulation.stream("news") for _ in range(100)]
    for _ in range(20):
        simulation.pass_time(1)
        await simulation.publish("news")
    simulation.pass_time(limits.COMMENT_EVERY + LATE)
    first = [comments(stream)[0] for stream in streams]
    assert max(first.count(at) for at in first) < 50


async def test_who_joins_a_busy_channel_late_is_not_taken_for_written_to(simulation: Simulation) -> None:
    await simulation.publish("news")
    simulation.stream("news")  # the cohort's last message was before the second one came
    await simulation.publish("news")
    simulation.pass_time(5)
    stream = simulation.stream("news")
    simulation.pass_time(40)
    times = [at for at, _ in stream.sent]
    assert max(after - before for before, after in pairwise(times)) <= limits.COMMENT_EVERY + LATE


# --- rotation --------------------------------------------------------------------------------------


async def test_a_stream_ends_by_itself_after_about_ten_minutes(simulation: Simulation) -> None:
    random.seed(1)  # the ages are by chance; what is asserted holds for any
    streams = [simulation.stream("news") for _ in range(200)]
    begun = simulation.now
    simulation.pass_time(2 * limits.STREAM_AGE)
    ages = []
    for stream in streams:
        [ended] = stream.times_of(b"event: end\n")
        ages.append(ended - begun)
        assert b'event: end\ndata: {"code":4005,' in stream.text
        assert stream.text.count(b"retry: 1000\n") == 2, "at the beginning, and with the end"
        assert stream.closed_at is not None
        assert stream.text.rindex(b"event: end\n") > stream.text.rindex(COMMENT), "nothing follows the end"
    # As old as they may be, and a comment's time: that is when they are looked at.
    spread = limits.STREAM_AGE * limits.STREAM_AGE_SPREAD
    assert min(ages) >= limits.STREAM_AGE - spread
    assert max(ages) <= limits.STREAM_AGE + spread + limits.COMMENT_EVERY + LATE
    # All were opened in one moment, and they do not all come back in one.
    fullest = max(sum(at <= age < at + 30 for age in ages) for at in range(0, 800, 30))
    assert fullest <= len(ages) / 4


async def test_a_busy_stream_rotates_too_and_misses_nothing(simulation: Simulation) -> None:
    stream = simulation.stream("news")
    published = 0
    while stream.is_open():
        simulation.pass_time(1)
        await simulation.publish("news", b"%d" % published)
        published += b"event: end" not in stream.text
        assert published < 800
    assert stream.text.count(b',"data":') == published
    assert published > 400


async def test_a_websocket_does_not_rotate(simulation: Simulation) -> None:
    web_socket = simulation.web_socket("news")
    for _ in range(1_000):
        simulation.pass_time(1)
        if pings(web_socket) and pings(web_socket)[-1] > simulation.now - 1:
            web_socket.say(PONG)
    assert web_socket.is_open()


# --- ping and pong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("round_trip", [0.001, 0.05, 0.3, 9.9])
async def test_a_client_that_answers_pings_stays(simulation: Simulation, round_trip: float) -> None:
    web_socket = simulation.web_socket("news")
    begun = simulation.now
    answered = 0
    while simulation.now < begun + 600:
        simulation.pass_time(0.001 if len(pings(web_socket)) > answered else 0.1)
        while (
            len(pings(web_socket)) > answered and simulation.now >= pings(web_socket)[answered] + round_trip
        ):
            web_socket.say(PONG)
            answered += 1
        assert close_codes(web_socket) == []
    times = pings(web_socket)
    assert limits.PING_EVERY <= times[0] - begun <= limits.PING_EVERY + LATE
    for before, at in pairwise(times):
        assert abs(at - before - limits.PING_EVERY - round_trip) <= 2 * LATE + 1


async def test_a_client_that_speaks_is_not_pinged(simulation: Simulation) -> None:
    web_socket = simulation.web_socket("news")
    for _ in range(60):
        simulation.pass_time(5)
        web_socket.say(raw.frame(raw.TEXT, b'{"ping":{}}'))
    assert pings(web_socket) == []
    assert web_socket.text.count(b'{"ok":{}}') == 60


async def test_a_half_open_websocket_is_closed_after_ping_and_grace(simulation: Simulation) -> None:
    there, gone = simulation.web_socket("news"), simulation.web_socket("news")
    begun = simulation.now
    for _ in range(360):
        simulation.pass_time(0.1)
        if pings(there) and len(pings(there)) == 1 and simulation.now - pings(there)[0] < 0.1:
            there.say(PONG)
    # The kernel takes what is written to it, and nothing comes back.
    assert close_codes(gone) == [4004]
    [pinged], [closed] = pings(gone), gone.times_of(b"\x88")
    assert limits.PING_EVERY <= pinged - begun <= limits.PING_EVERY + LATE
    assert limits.PONG_GRACE <= closed - pinged <= limits.PONG_GRACE + LATE
    # Nobody closes the other side, so it is cut.
    simulation.pass_time(limits.CLOSE_GRACE)
    assert gone.closed_at is not None
    assert close_codes(there) == []
    assert len(simulation.app.connections) == 1
    await simulation.publish("news")
    assert there.text.endswith(b'"data":1}}')


async def test_messages_do_not_make_a_half_open_websocket_look_alive(simulation: Simulation) -> None:
    web_socket = simulation.web_socket("news")
    for _ in range(40):
        simulation.pass_time(1)
        if not close_codes(web_socket):
            await simulation.publish("news")
    assert close_codes(web_socket) == [4004]


async def test_accepted_connections_are_given_up_by_the_kernel_when_nothing_is_acknowledged() -> None:
    # What finds half-open event streams and polls: their comments and answers meet no acknowledgement.
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[socket.socket] = loop.create_future()

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport.get_extra_info("socket"))
            self.transport = transport

    peer = Peer()
    listening = bind(Settings(port=0))
    servers = await accept(loop, listening.sockets[0], Settings(), lambda: peer)
    _, writer = await asyncio.open_connection("127.0.0.1", int(listening.url.rpartition(":")[2]))
    timeout_ms = (await accepted).getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert timeout_ms == limits.WRITE_TIMEOUT * 1000
    peer.transport.close()
    writer.close()
    for server in servers:
        server.close()


# --- deadlines of writing --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream", "web_socket"])
async def test_a_reader_that_takes_nothing_is_cut_at_its_write_deadline(
    simulation: Simulation, kind: str
) -> None:
    reader: Socket = getattr(simulation, kind)("news")
    other: Socket = simulation.stream("news")
    simulation.pass_time(10)
    reader.stall()
    await simulation.publish("news", b'"%b"' % (b"x" * 10_000))
    stalled = simulation.now
    held = reader.unsent
    for _ in range(59):
        simulation.pass_time(1)
        await simulation.publish("news", b'"%b"' % (b"x" * 10_000))
    assert reader.is_open()
    assert reader.unsent == held, "what comes meanwhile waits in the history, not here"
    simulation.pass_time(2)
    assert reader.closed_at is not None
    assert limits.WRITE_TIMEOUT <= reader.closed_at - stalled <= limits.WRITE_TIMEOUT + LATE
    assert other.is_open()
    assert other.text.count(b',"data":') == 60


@pytest.mark.parametrize("kind", ["stream", "web_socket"])
async def test_a_reader_that_takes_something_in_time_stays(simulation: Simulation, kind: str) -> None:
    reader: Socket = getattr(simulation, kind)("news")
    for number in range(5):
        reader.stall()
        await simulation.publish("news", b"%d" % number)
        await simulation.publish("news", b"%d" % -number)
        simulation.pass_time(limits.WRITE_TIMEOUT - 1)
        reader.read_on()
        simulation.pass_time(1)
        if kind == "web_socket":
            reader.say(PONG)
    assert reader.is_open()
    assert reader.text.count(b',"data":') == 10


async def test_an_answer_that_is_not_read_is_cut_at_its_deadline(simulation: Simulation) -> None:
    asker = simulation.connect()
    asker.stall()
    asker.say(raw.head_of("GET", "/channels/news"))
    asked = simulation.now
    assert not asker.reading, "no question is read before the answer is"
    simulation.pass_time(limits.WRITE_TIMEOUT + LATE)
    assert asker.closed_at is not None
    assert asker.closed_at - asked >= limits.WRITE_TIMEOUT


async def test_a_connection_that_asks_nothing_is_closed(simulation: Simulation) -> None:
    silent, idle = simulation.connect(), simulation.connect(raw.head_of("GET", "/livez"))
    begun = simulation.now
    simulation.pass_time(200)
    for peer, after in ((silent, limits.HEAD_TIMEOUT), (idle, limits.KEEP_ALIVE)):
        assert peer.closed_at is not None
        lived = peer.closed_at - begun
        assert after <= lived <= after + limits.CLOSE_GRACE + 2 * LATE


@pytest.mark.parametrize(
    ("first", "piece", "after"),
    [
        (b"GET /li", b"v", limits.HEAD_TIMEOUT),
        (raw.head_of("GET", "/livez") + b"GET / HTTP/1.1\r\nX: ", b"x", limits.HEAD_TIMEOUT),
        (raw.head_of("POST", "/channels/news", {"Content-Length": "1000"}), b" ", limits.BODY_TIMEOUT),
    ],
    ids=["a head", "a second head", "a body"],
)
@pytest.mark.parametrize("every", [0.5, 4])
async def test_slow_bytes_do_not_put_a_deadline_off(
    simulation: Simulation, first: bytes, piece: bytes, after: float, every: float
) -> None:
    begun = simulation.now
    peer = simulation.connect(first)
    while peer.is_open():
        peer.say(piece)
        simulation.pass_time(every)
    [refused] = peer.times_of(b" 408 ")
    assert after <= refused - begun <= after + LATE


async def test_empty_lines_in_front_of_a_request_do_not_put_its_deadline_off(simulation: Simulation) -> None:
    begun = simulation.now
    peer = simulation.connect()
    while peer.is_open():
        peer.say(b"\r\n")
        simulation.pass_time(1)
    assert peer.closed_at is not None
    lived = peer.closed_at - begun
    assert limits.HEAD_TIMEOUT <= lived <= limits.HEAD_TIMEOUT + limits.CLOSE_GRACE + 2 * LATE
    assert peer.text == b""


# --- the wheel -------------------------------------------------------------------------------------


class Entry:
    """Something with a deadline, that notes when it was called."""

    def __init__(self, clock: Clock) -> None:
        self.slot = -1
        self.due = 0
        self.called: list[float] = []
        self._clock = clock

    def expired(self) -> None:
        self.called.append(self._clock.now)


def wheel_of(clock: Clock) -> Wheel:
    return Wheel(cast("asyncio.AbstractEventLoop", clock))


def test_an_entry_is_due_once_never_early_and_at_most_two_ticks_late() -> None:
    clock = Clock()
    wheel = wheel_of(clock)
    chance = random.Random(7)
    entries = []
    for _ in range(500):
        clock.pass_time(chance.random() / 10)
        seconds = chance.choice([0.0, 1e-300, 0.01, 0.1, 0.5, 1.0, 15.0, chance.random() * 80])
        entry = Entry(clock)
        wheel.set(entry, seconds)
        entries.append((entry, clock.now + seconds))
    clock.pass_time(100)
    for entry, due in entries:
        [at] = entry.called
        assert -1e-6 <= at - due <= LATE + 1e-6


@pytest.mark.parametrize("seconds", [0.0, 1e-300, 1e-9])
def test_an_entry_that_is_due_at_once_is_not_forgotten(seconds: float) -> None:
    clock = Clock(now=0.0, late=0.0)
    wheel = wheel_of(clock)
    other, entry = Entry(clock), Entry(clock)
    wheel.set(other, 1.0)
    clock.pass_time(5 * TICK)  # just on a tick
    wheel.set(entry, seconds)
    clock.pass_time(1)
    assert len(entry.called) == 1


def test_a_new_deadline_replaces_the_old_one() -> None:
    clock = Clock()
    wheel = wheel_of(clock)
    entry = Entry(clock)
    wheel.set(entry, 1)
    clock.pass_time(0.5)
    wheel.set(entry, 10)
    clock.pass_time(9)
    assert entry.called == []
    wheel.set(entry, 0.2)
    clock.pass_time(60)
    assert len(entry.called) == 1


def test_what_has_no_deadline_any_more_is_not_called_and_not_kept() -> None:
    clock = Clock()
    wheel = wheel_of(clock)
    entry = Entry(clock)
    wheel.set(entry, 5)
    wheel.clear(entry)
    wheel.clear(entry)
    gone = weakref.ref(entry)
    called = entry.called
    del entry
    gc.collect()
    assert gone() is None
    clock.pass_time(10)
    assert called == []


def test_an_entry_may_set_a_deadline_when_its_own_has_come() -> None:
    clock = Clock()
    wheel = wheel_of(clock)

    class Heart(Entry):
        def expired(self) -> None:
            super().expired()
            wheel.set(self, 1.0)

    heart = Heart(clock)
    wheel.set(heart, 1.0)
    clock.pass_time(100)
    assert 80 <= len(heart.called) <= 100
    assert clock.timers == 1, "however many entries: one timer"


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_an_entry_may_move_another_that_is_due_in_the_same_tick(seconds: float | None) -> None:
    clock = Clock()
    wheel = wheel_of(clock)

    class Mover(Entry):
        other: Entry

        def expired(self) -> None:
            super().expired()
            if self.other.called:
                return
            if seconds is None:
                wheel.clear(self.other)
            else:
                wheel.set(self.other, seconds)

    one, other = Mover(clock), Mover(clock)
    one.other, other.other = other, one
    wheel.set(one, 1.0)
    wheel.set(other, 1.0)
    clock.pass_time(2.0)
    assert sorted([len(one.called), len(other.called)]) == [0, 1]
    clock.pass_time(10.0)
    assert len(one.called) + len(other.called) == (1 if seconds is None else 2)


def test_one_entry_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    wheel = wheel_of(clock)

    class Broken(Entry):
        def expired(self) -> None:
            raise RuntimeError("this one is broken")

    entries = [Entry(clock) for _ in range(20)]
    broken = [Broken(clock) for _ in range(5)]
    for entry in (*entries[:10], *broken, *entries[10:]):
        wheel.set(entry, 1.0)
    later = Entry(clock)
    wheel.set(later, 3.0)
    clock.pass_time(5)
    assert [len(entry.called) for entry in (*entries, later)] == [1] * 21
    assert caplog.text.count("RuntimeError: this one is broken") == 5
    assert clock.timers == 0


def test_a_loop_that_was_blocked_catches_up_with_all_that_is_due() -> None:
    clock = Clock()
    wheel = wheel_of(clock)
    entries = [Entry(clock) for _ in range(100)]
    for number, entry in enumerate(entries):
        wheel.set(entry, (number + 1) / 10)
    clock.now += 20
    clock.pass_time(0)
    assert all(len(entry.called) == 1 for entry in entries)


def test_a_wheel_without_entries_has_no_timer() -> None:
    clock = Clock()
    wheel = wheel_of(clock)
    assert clock.timers == 0
    entry = Entry(clock)
    wheel.set(entry, 3)
    assert clock.timers == 1
    clock.pass_time(5)
    assert clock.timers == 0
    wheel.set(entry, 3)
    clock.pass_time(5)
    assert len(entry.called) == 2


def kept() -> int:
    """Return how many connections this process holds, wherever they are kept."""
    gc.collect()
    return sum(type(one) is Connection for one in gc.get_objects())


async def test_connections_that_are_gone_have_left_nothing_behind(simulation: Simulation) -> None:
    peers = [simulation.stream("news"), simulation.web_socket("news"), simulation.connect()]
    peers.append(simulation.connect(raw.head_of("GET", "/channels/news?wait=50")))
    stalled = simulation.web_socket("news")
    stalled.stall()
    await simulation.publish("news")
    assert len(simulation.app.connections) == 5
    assert kept() == 5
    for peer in (*peers, stalled):
        peer.hang_up()
        peer.abort()
    simulation.pass_time(0)
    assert simulation.app.connections == set()
    assert (simulation.app.hub.cohorts.live, len(simulation.app.hub.cohorts)) == (0, 0)
    del peers, peer, stalled
    assert kept() == 0
    simulation.pass_time(100)
    assert simulation.clock.timers == 0
