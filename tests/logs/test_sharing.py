"""A shared log at its edges: a worker that reads nothing, or talks nonsense, and a parent that ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Hole, Life, Message
from tidings.logs.memory import MemoryLog
from tidings.logs.shared import SharedLog, Sharing
from tidings.wire import shared_log as wire
from tidings.wire.frames import BadFrame, Frames, frame

BIG = b'"' + b"x" * 60_000 + b'"'


class Place:
    """A shared log in memory, and workers at it."""

    def __init__(self, retention: Retention | None = None) -> None:
        self.log = MemoryLog(retention)
        self.sharing = Sharing(self.log, asyncio.get_running_loop())
        self.logs: list[SharedLog] = []

    async def worker(self) -> SharedLog:
        ours, theirs = socket.socketpair()
        await self.sharing.attach(ours)
        log = SharedLog(theirs)
        await log.open()
        self.logs.append(log)
        return log

    async def raw(self) -> "Raw":
        """Return a worker's end that says what it is told to."""
        ours, theirs = socket.socketpair()
        await self.sharing.attach(ours)
        return Raw(theirs)

    async def close(self) -> None:
        for log in self.logs:
            await log.close()
        await self.sharing.close()
        await self.log.close()


class Raw:
    """A worker made of bytes, which reads only when it is asked to."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()

    async def say(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def hears(self) -> list[wire.Answer] | None:
        """Return what comes next; None at the end."""
        async with asyncio.timeout(20):
            try:
                data = await self._loop.sock_recv(self._sock, 1 << 20)
            except ConnectionError:
                data = b""
        return [wire.answer(body) for body in self._frames.feed(data)] if data else None

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    await made.close()


async def until(what: str, check: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it never came about that {what}")


async def collect(worker: Raw, until: int) -> list[int | Hole]:
    """Read until the message at `until` has come; return positions, and holes among them."""
    got: list[int | Hole] = []
    while not (got and got[-1] == until):
        heard = await worker.hears()
        assert heard is not None, "the log hung up"
        for told in heard:
            if isinstance(told, wire.Brought):
                got += [row[0] for row in told.rows]
            elif isinstance(told, wire.Lost):
                got.append(Hole(told.through))
    return got


async def test_a_worker_that_does_not_read_gets_everything_once_when_it_reads(place: Place) -> None:
    worker, other = await place.raw(), await place.worker()
    await worker.say(wire.pack(wire.Hello(wire.VERSION)) + wire.pack(wire.Follow(1, 0)))
    for round_ in range(5):
        for _ in range(100):
            await other.append([Draft("a", BIG), Draft("b", b"1")])
        assert len(place.sharing._links) == 2
        if round_ == 2:
            await asyncio.sleep(3 * limits.WORKER_PATIENCE)  # it is a position by now, and no follower
    assert not place.log._followers or len(place.log._followers) <= 1
    await other.append([Draft("c", b"1")])
    assert await collect(worker, place.log.head) == list(range(1, place.log.head + 1))
    # And it is live again: what is appended now is rendered once for both.
    await other.append([Draft("c", b"2")])
    assert await collect(worker, place.log.head) == [place.log.head]
    worker.close()


async def test_a_worker_that_was_away_for_too_long_is_told_what_is_gone() -> None:
    place = Place(Retention(count=50))
    worker, other = await place.raw(), await place.worker()
    await worker.say(wire.pack(wire.Hello(wire.VERSION)) + wire.pack(wire.Follow(1, 0)))
    for _ in range(400):
        await other.append([Draft("a", BIG)])
    got = await collect(worker, 400)
    holes = [at for at, one in enumerate(got) if isinstance(one, Hole)]
    assert holes, "4 MiB were held, and 24 had passed"
    # What is missing is what a hole says, and nothing else.
    before = 0
    for one in got:
        if isinstance(one, Hole):
            before = max(before, one.through)
        else:
            assert one == before + 1
            before = one
    worker.close()
    await place.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        wire.pack(wire.Append(1, [("a", b"1", None, None, None)])),  # before hello
        wire.pack(wire.Hello(999)) + wire.pack(wire.Refresh(1)),
        frame(b"\xc1"),
        frame(b"[]"),
        (limits.WORKER_FRAME_BYTES + 1).to_bytes(4, "big"),
        wire.pack(wire.Hello(wire.VERSION)) + 2 * wire.pack(wire.Follow(1, 0)),
        wire.pack(wire.Hello(wire.VERSION)) + wire.pack(wire.Welcome(1, "e", 1)),
    ],
    ids=["unannounced", "version", "no MessagePack", "no frame of ours", "too long", "twice", "an answer"],
)
async def test_nonsense_ends_the_worker_that_says_it_and_no_other(place: Place, nonsense: bytes) -> None:
    worker, other = await place.raw(), await place.worker()
    await worker.say(nonsense)
    while await worker.hears() is not None:
        pass
    assert (await other.append([Draft("a", b"1")]))[0].cursor.position == 1
    worker.close()


async def test_a_parent_of_another_version_is_said() -> None:
    ours, theirs = socket.socketpair()
    log = SharedLog(theirs)
    opening = asyncio.ensure_future(log.open())
    parent = Raw(ours)
    await asyncio.sleep(0)
    await parent.say(wire.pack(wire.Welcome(999, "e", 0)))
    with pytest.raises(SettingsError, match="version 999"):
        await opening
    await log.close()
    parent.close()


async def test_when_the_parent_goes_what_waits_is_refused_and_followings_end() -> None:
    ours, theirs = socket.socketpair()
    log = SharedLog(theirs)
    opening = asyncio.ensure_future(log.open())
    parent = Raw(ours)
    await asyncio.sleep(0)
    await parent.say(wire.pack(wire.Welcome(wire.VERSION, "e", 0)))
    await opening

    async def follow() -> list[object]:
        return [batch async for batch in log.follow()]

    following = asyncio.ensure_future(follow())
    waiting = log.append([Draft("a", b"1")])
    await asyncio.sleep(0.05)
    await parent.say(
        wire.pack(wire.Begun(1, "e", 0, 0, {}, more=False))
        + wire.pack(wire.Brought(1, "e", [(1, "a", 1, b"1", None, None)]))
    )
    parent.close()
    with pytest.raises(Refusal, match="The log is not there"):
        await waiting
    async with asyncio.timeout(10):
        life, batch = await following
    # What had come before is delivered.
    assert isinstance(life, Life)
    assert isinstance(batch, list)
    assert isinstance(batch[0], Message)
    with pytest.raises(Refusal):
        await log.append([Draft("a", b"2")])
    with pytest.raises(Refusal):
        await log.refresh()
    assert log.away_since is not None
    await log.close()


async def test_a_parent_that_does_not_answer_is_away_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_TIMEOUT", 0.3)
    ours, theirs = socket.socketpair()
    log = SharedLog(theirs)
    opening = asyncio.ensure_future(log.open())
    parent = Raw(ours)
    await asyncio.sleep(0)
    await parent.say(wire.pack(wire.Welcome(wire.VERSION, "e", 0)))
    await opening

    def is_back() -> bool:
        return log.away_since is None

    assert is_back()
    with pytest.raises(Refusal, match="does not answer"):
        await log.append([Draft("a", b"1")])
    assert not is_back()
    with pytest.raises(Refusal):  # at once, while it is known to be away
        log.append([Draft("a", b"2")]).result()
    # A late answer harms nobody, and shows that it is there.
    await parent.say(wire.pack(wire.Refreshed(999, "e", 7, "")))

    await until("it is back", is_back)
    assert log.head == 7
    await log.close()
    parent.close()


async def test_too_much_that_waits_is_refused_at_once(place: Place) -> None:
    log = await place.worker()
    answers = [log.append([Draft("a", b"1")] * 1_000) for _ in range(12)]
    told = await asyncio.gather(*answers, return_exceptions=True)
    refused = [one for one in told if isinstance(one, Refusal)]
    assert len(refused) == 2
    assert len(await log.append([Draft("a", b"1")])) == 1
    with pytest.raises(Refusal, match="too many or too long"):
        await log.append([Draft("a", BIG)] * 300)


async def test_many_marks_of_a_life_arrive_whole(place: Place) -> None:
    place.log._history.begin(3, {f"c{n}": n for n in range(12_345)})
    log = await place.worker()
    follower = log.follow()
    life = await anext(follower)
    assert life == Life(place.log.epoch, 3, {f"c{n}": n for n in range(12_345)})
    with contextlib.suppress(AttributeError):
        await follower.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 3, 1_000_000])
def test_frames_come_whole_however_the_bytes_are_cut(size: int) -> None:
    bodies = [b"", b"a", b"b" * 300, b"c" * 70_000, b""]
    data = b"".join(map(frame, bodies))
    if size == 1:
        bodies, data = bodies[:3], b"".join(map(frame, bodies[:3]))
    frames, got = Frames(), []
    for at in range(0, len(data), size):
        got += frames.feed(data[at : at + size])
    assert got == bodies
    with pytest.raises(BadFrame):
        Frames(10).feed(frame(b"x" * 11))
