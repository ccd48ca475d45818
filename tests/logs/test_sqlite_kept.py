"""The log in a file: what it keeps and drops, and what followers are told of it."""

# ruff: noqa: ASYNC240 - nothing else runs in these tests' event loops

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from logs.files import CHANNELS, Clock, opened, state
from logs.test_logs import Tail, data_of, draft, until
from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.message import Draft, Hole, Life, Message
from tidings.logs.sqlite import SqliteLog
from tidings.logs.sqlite.file import File

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tidings.db"


# --- what is kept -----------------------------------------------------------------------------------


async def test_what_was_lost_is_known_after_a_restart(path: Path) -> None:
    retention = Retention(count=4)
    log = await opened(path, retention)
    for n in range(60):
        await log.append([draft(n, CHANNELS[n % 7 % 3])])
    before = await state(log)
    assert all(before[0].marks[c] for c in "abc")
    await log.close()
    log = await opened(path, retention)
    after = await state(log)
    assert before[0] == after[0]
    assert [m.position for m in before[1]] == [m.position for m in after[1]]
    await log.close()


async def test_one_mark_stands_for_the_forgotten_ones_over_restarts(path: Path) -> None:
    clock = Clock()
    retention = Retention(age=10, marks=2)
    log = await opened(path, retention, clock=clock)
    for channel in "abcde":
        await log.append([draft(1, channel)])
    clock.now += 20
    await log.append([draft(2, "f"), draft(3, "a")])
    # All five are empty: a (which is mentioned again), and of b to e two are remembered.
    await log.append([draft(4, "f")])
    life, _ = await state(log)
    lost = {c: life.marks.get(c, life.lost_through) for c in "abcdef"}
    assert all(lost[c] >= n for n, c in enumerate("abcde", 1))
    assert life.lost_through > 0
    # A channel that comes back starts from the mark that stands for the forgotten ones, and keeps it.
    position = (await log.append([draft(5, "b"), draft(6, "g")]))[0].cursor.position
    clock.now += 20
    await log.append([draft(7, "h")])
    await log.append([draft(8, "h")])
    before = await state(log)
    assert before[0].lost_through >= position - 1
    await log.close()
    log = await opened(path, retention, clock=clock)
    assert await state_of(log) == (before[0], [m.position for m in before[1]])
    await log.close()


async def state_of(log: SqliteLog) -> tuple[Life, list[int]]:
    life, kept = await state(log)
    return life, [m.position for m in kept]


async def test_a_channel_keeps_its_own_mark_when_the_common_one_rises(path: Path) -> None:
    clock = Clock()
    retention = Retention(age=10, marks=0)
    log = await opened(path, retention, clock=clock)
    await log.append([draft(1, "a")])
    clock.now += 20
    await log.append([draft(2, "b")])  # a is forgotten
    position = (await log.append([draft(3, "c")]))[0].cursor.position
    await log.append([Draft("d", b"4", idempotency_key="k")])
    clock.now += 8
    await log.append([draft(5, "c")])
    clock.now += 4
    await log.append([draft(6, "e")])  # b is forgotten, c keeps one message
    life, kept = await state_of(log)
    assert life.marks.get("c", life.lost_through) >= position
    assert all(p > life.marks.get("c", life.lost_through) for p in kept)
    await log.close()
    log = await opened(path, retention, clock=clock)
    assert await state_of(log) == (life, kept)
    await log.close()


async def test_dropping_goes_in_bounded_steps_between_commits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await opened(path, durability="stored")
    for _ in range(100):
        await log.append([draft(n, CHANNELS[n % 8]) for n in range(100)])
    await log.close()
    steps: list[int] = []
    drop, insert = File.drop, File.insert

    def left() -> int:
        return 7900 - sum(step for step in steps if step > 0)

    def counted(self: File, positions: Sequence[int]) -> None:
        with_append = bool(steps) and steps[-1] < 0
        steps.append(len(positions))
        drop(self, positions)
        # Whoever appends next has done so before the next step is thought of: in the thread of the file.
        patience = time.monotonic() + 20
        while not with_append and left() > 0 and log._writer.inbox.empty() and time.monotonic() < patience:
            time.sleep(0.001)

    def noted(self: File, messages: Sequence[Message]) -> None:
        steps.append(-len(messages))
        insert(self, messages)

    monkeypatch.setattr(File, "drop", counted)
    monkeypatch.setattr(File, "insert", noted)
    log = SqliteLog(f"sqlite:///{path}?durability=stored", Retention(count=10))
    await log.open()
    appended = 0
    while left() > 0:
        await log.append([draft(1)])
        appended += 1
    await log.close()
    assert max(steps) <= limits.LOG_DROP_STEP + 2
    # Whoever appended waited for a step or two, never for all of them.
    assert len(steps) > 30
    longest = run = dropped = 0
    for step in steps:
        run = 0 if step < 0 else run + 1
        dropped += max(0, step)
        longest = max(longest, run)
        if dropped >= 7900:
            break
    assert appended > 3
    assert longest <= 2


async def test_a_step_is_bounded_in_bytes_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await opened(path, durability="stored")
    big = b'"' + b"x" * 60_000 + b'"'
    for _ in range(10):
        await log.append([Draft("a", big)] * 20)
    await log.close()
    steps: list[int] = []
    drop = File.drop

    def counted(self: File, positions: Sequence[int]) -> None:
        steps.append(len(positions))
        drop(self, positions)

    monkeypatch.setattr(File, "drop", counted)
    log = await opened(path, Retention(count=1), durability="stored")

    async def dropped() -> bool:
        return len(await data_of(log, "a")) <= 1

    await until("it was dropped", dropped)
    assert max(steps) * 60_000 <= 2 * limits.LOG_CHECKPOINT_BYTES
    await log.close()


async def test_the_file_stays_bounded(path: Path) -> None:
    """What was dropped makes room for what comes."""
    log = await opened(path, Retention(count=100), durability="stored")
    data = b'"' + b"x" * 1000 + b'"'
    sizes = []
    for _ in range(60):
        await log.append([Draft(CHANNELS[n % 4], data) for n in range(200)])
        sizes.append(sum(p.stat().st_size for p in path.parent.iterdir()))
    # 12 MB went through it, and 400 to 500 messages of 1 kB are kept.
    assert path.stat().st_size < 1_500_000
    assert max(sizes) < limits.LOG_CHECKPOINT_BYTES_MOST + 4_000_000
    await log.close()


async def test_keys_are_bounded_and_age_over_restarts(path: Path) -> None:
    clock = Clock()
    log = await opened(path, clock=clock, keys=100)
    first = (await log.append([draft(1, key="first")]))[0]
    clock.now += limits.IDEMPOTENCY_AGE - 1
    assert (await log.append([draft(1, key="first")]))[0].cursor == first.cursor
    await log.close()
    log = await opened(path, clock=clock, keys=100)
    assert (await log.append([draft(1, key="first")]))[0].cursor == first.cursor
    clock.now += 1
    second = (await log.append([draft(1, key="first")]))[0]
    assert not second.duplicate
    await log.close()
    log = await opened(path, clock=clock, keys=100)
    assert (await log.append([draft(1, key="first")]))[0].cursor == second.cursor
    for n in range(30):
        await log.append([draft(m, key=f"{n}-{m}") for m in range(10)])
    assert not (await log.append([draft(1, key="first")]))[0].duplicate
    assert (await log.append([draft(1, key="29-0")]))[0].duplicate
    await log.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM idempotency").fetchone()[0] <= 101
    connection.close()


async def test_a_message_in_the_file_that_is_none_of_ours_is_passed_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = await opened(path)
    await log.append([draft(1)])
    await log.close()
    connection = sqlite3.connect(path)
    add = "INSERT INTO message (channel, time_ms, data, event) VALUES (?, ?, ?, ?)"
    connection.execute(add, ("a\nb", 1, b"1", None))
    connection.execute(add, ("a", 1, b"no JSON", None))
    connection.execute(add, ("a", 1, b"1", "ready"))
    connection.execute(add, ("a", 1, b'"' + b"x" * limits.LOG_RECORD_BYTES + b'"', None))
    connection.execute("INSERT INTO message (channel, time_ms, data) VALUES (CAST(x'ff' AS TEXT), 1, x'31')")
    connection.execute(add, ("a", 1, b"2", "e"))
    connection.commit()
    connection.close()
    log = await opened(path)
    tail = Tail(log)
    await tail.life()
    assert [m.data for m in await tail.take(2)] == [b"1", b"2"]
    assert await data_of(log, "a") == [b"1", b"2"]
    assert "passed over a message in the file position=2" in caplog.text
    await tail.close()
    await log.close()


# --- following --------------------------------------------------------------------------------------


@pytest.mark.parametrize("retention", [Retention(count=10), Retention(bytes=1_000_000)])
async def test_nothing_is_dropped_before_a_follower_that_still_reads(
    path: Path, monkeypatch: pytest.MonkeyPatch, retention: Retention
) -> None:
    """Also where much less is to be kept than is there, as after a change of the settings."""
    monkeypatch.setattr(limits, "LOG_DROP_STEP", 0)  # so that it drops only with appends
    log = await opened(path, durability="stored")
    big = b'"' + b"x" * 20_000 + b'"'
    for _ in range(20):
        await log.append([Draft("a", big)] * 20)
    await log.close()
    log = await opened(path, retention, durability="stored")
    tail = Tail(log)
    await tail.life()
    while not tail.messages or tail.messages[-1].position < log.head:
        await log.append([draft(1), draft(2, "b")])
        await tail.step()
    assert [m.position for m in tail.messages] == list(range(1, tail.messages[-1].position + 1))
    assert not any(isinstance(told, Hole) for told in tail.told)

    async def dropped() -> bool:
        await log.append([draft(n) for n in range(10)])
        return len([data for data in await data_of(log, "a") if data == big]) <= 12

    await until("it is dropped once it was read", dropped)
    await tail.close()
    await log.close()


async def test_a_follower_that_takes_too_long_is_told_of_a_hole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await opened(path, durability="stored")
    for n in range(3):
        await log.append([draft(n * 1000 + m) for m in range(1000)])
    await log.close()
    monkeypatch.setattr(limits, "LOG_FOLLOW_PATIENCE", 0.0)
    monkeypatch.setattr(limits, "ANSWER_MESSAGES_MOST", 100)
    step = limits.LOG_DROP_STEP
    monkeypatch.setattr(limits, "LOG_DROP_STEP", 0)  # nothing is dropped yet
    log = await opened(path, Retention(count=10), durability="stored")
    tail = Tail(log)
    life = await tail.life()
    monkeypatch.setattr(limits, "LOG_DROP_STEP", step)

    async def dropped() -> bool:
        return len(await data_of(log, "a")) <= 12

    await until("it was dropped unread", dropped)
    await tail.take(100)
    await tail.step()
    hole = tail.told[-1]
    assert isinstance(hole, Hole)
    assert life.marks.get("a", 0) + 100 < hole.through < log.head
    kept = await tail.take(log.head - hole.through)
    assert [m.position for m in kept] == list(range(hole.through + 1, log.head + 1))
    await tail.close()
    await log.close()


async def test_a_hole_reaches_as_far_as_anything_was_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower may forget what single channels lost when it is told of a hole."""
    monkeypatch.setattr(limits, "LOG_FOLLOW_PATIENCE", 0.0)
    monkeypatch.setattr(limits, "ANSWER_MESSAGES_MOST", 2)
    clock = Clock()
    retention = Retention(count=10, age=150)
    log = await opened(path, retention, clock=clock)
    await log.append([draft(n, "b") for n in range(10)])
    clock.now += 100
    await log.append([draft(n) for n in range(100)])
    await log.append([draft(100)])
    await log.close()
    log = await opened(path, retention, clock=clock)
    tail = Tail(log)
    life = await tail.life()
    clock.now += 60

    async def dropped() -> bool:
        return not await data_of(log, "b")

    await until("b is too old", dropped)
    while len(tail.told) < 2:
        await tail.step()
    hole = tail.told[1]
    assert isinstance(hole, Hole)
    assert hole.through >= life.marks["a"] > 50
    await tail.close()
    await log.close()


@pytest.mark.parametrize("count", [1_000, 10_000])
async def test_a_follower_that_takes_nothing_reads_the_file_later(
    path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(limits, "LOG_PENDING", 500)
    log = await opened(path, Retention(count=count), durability="stored")
    tail = Tail(log)
    await tail.life()
    for n in range(15):
        await log.append([draft(n * 100 + m) for m in range(100)])
    (follower,) = log._followers
    assert len(follower._messages) <= 600, "what a follower does not take is bounded"
    while not tail.messages or tail.messages[-1].position < log.head:
        await tail.step()
    holes = [told.through for told in tail.told if isinstance(told, Hole)]
    assert len(holes) == (1 if count < 1_500 else 0)
    missed = holes[0] if holes else 0
    assert [m.position for m in tail.messages] == list(range(missed + 1, log.head + 1))
    await tail.close()
    await log.close()
