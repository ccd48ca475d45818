"""The log in a file on a disk that fails or is full: nothing is acknowledged that is not kept."""

import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logs.test_logs import Tail, data_of, until
from tidings.core.errors import Refusal
from tidings.core.history import Retention
from tidings.core.message import Draft
from tidings.logs.sqlite import SqliteLog
from tidings.logs.sqlite.file import File

pytestmark = pytest.mark.usefixtures("patient")

APPENDER = Path(__file__).with_name("appender.py")

strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (Debian: strace)")


def injected(
    url: str, trace: Path, fault: str, *, count: int = 60, most_refused: int = 1_000_000
) -> list[list[str]]:
    """Append with a fault in system calls, let it end by itself, and return its lines in words."""
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync,pwrite64"]
    command += ["-e", f"inject={fault}"]
    command += [sys.executable, str(APPENDER), url, str(count), "0.005", "90", "1000000", str(most_refused)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert lines[-1] == ["end"], ended.stderr[-2000:]
    assert "(INJECTED)" in trace.read_text(), "the fault was met"
    return lines


async def kept_in(path: Path) -> dict[int, str]:
    log = SqliteLog(f"sqlite:///{path}", Retention(count=1_000_000))
    await log.open()
    kept = await log.read(["c0", "c1", "c2", "c3"], 0, 1_000_000)
    await log.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return {m.position: m.data.decode() for m in kept}


def acknowledged(lines: list[list[str]]) -> dict[int, str]:
    told: dict[int, str] = {}
    for line in lines:
        if line[0] == "ack":
            assert told.setdefault(int(line[1]), line[3]) == line[3], "a position was given out twice"
    return told


# To open a new file takes ten syncs, and some forty writes.
@strace
@pytest.mark.parametrize("durability", ["synced", pytest.param("stored", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("fsync,fdatasync:error=EIO:when=11..12", "the disk failed"),
        pytest.param("fsync,fdatasync:error=EIO:when=12..40+14", "the disk failed", marks=pytest.mark.slow),
        pytest.param("pwrite64:error=ENOSPC:when=60..61", "the disk is full", marks=pytest.mark.slow),
        pytest.param("pwrite64:error=EIO:when=60..61", "the disk failed", marks=pytest.mark.slow),
    ],
)
async def test_a_failing_disk_refuses_and_recovers(
    tmp_path: Path, durability: str, fault: str, says: str
) -> None:
    path = tmp_path / "tidings.db"
    # Stored, only checkpoints sync: it takes more to get there.
    count = 60 if durability == "synced" else 150
    url = f"sqlite:///{path}?durability={durability}"
    lines = injected(url, tmp_path / "trace", fault, count=count)
    told = acknowledged(lines)
    refused = [n for n, line in enumerate(lines) if line[0] == "no"]
    assert refused, "publishing was refused"
    assert says in " ".join(lines[refused[0]])
    between = lines[refused[0] : refused[-1]]
    assert any(line[0] == "kept" for line in between), "reading went on"
    assert any(line[0] == "ack" for line in lines[refused[-1] :]), "it recovered by itself"
    kept = await kept_in(path)
    assert {p: kept.get(p) for p in told} == told


@strace
def test_after_a_failed_sync_the_wal_is_written_again_before_anything_is_copied_from_it(
    tmp_path: Path,
) -> None:
    """The kernel may take its pages for written: the next sync of them would succeed, and do nothing."""
    trace = tmp_path / "trace"
    injected(f"sqlite:///{tmp_path / 'tidings.db'}", trace, "fdatasync:error=EIO:when=11")
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    failed = next(n for n, call in enumerate(calls) if "(INJECTED)" in call)
    rest = calls[failed + 1 :]
    written = next(n for n, call in enumerate(rest) if call.startswith("pwrite64") and "-wal>" in call)
    synced = next(n for n, call in enumerate(rest) if call.startswith("fsync") and "-wal>" in call)
    copied = next(n for n, call in enumerate(rest) if call.startswith("pwrite64") and "tidings.db>" in call)
    assert written < synced < copied


@strace
async def test_nothing_is_acknowledged_after_a_sync_that_failed(tmp_path: Path) -> None:
    """Every sync fails from some point on: from then on there is not one acknowledgement."""
    path = tmp_path / "tidings.db"
    fault = "fsync,fdatasync:error=EIO:when=20+"
    lines = injected(f"sqlite:///{path}", tmp_path / "trace", fault, most_refused=20)
    words = [line[0] for line in lines]
    assert "ack" in words
    assert "ack" not in words[words.index("no") :]
    assert "kept" in words[words.index("no") :], "reading goes on"
    kept = await kept_in(path)
    told = acknowledged(lines)
    assert {p: kept.get(p) for p in told} == told


async def test_a_full_disk_refuses_until_there_is_room(tmp_path: Path) -> None:
    """A bound on the size of files stands in for the disk's: both end in a write that fails."""
    path = tmp_path / "tidings.db"
    log = SqliteLog(f"sqlite:///{path}")
    await log.open()
    tail = Tail(log)
    await tail.life()
    big = b'"' + b"x" * 50_000 + b'"'
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    kept = 0
    try:
        with pytest.raises(Refusal) as refused:  # noqa: PT012 - which of them does not matter
            for _ in range(100):
                await log.append([Draft("a", big)])
                kept += 1
        assert refused.value.kind.code == "log_unavailable"
        assert log.refusing
        at_once = log.append([Draft("a", big)])
        assert at_once.done()
        assert at_once.exception() is not None
        assert len(await data_of(log, "a")) == kept > 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    async def back() -> bool:
        return not log.refusing

    await until("it is taken up again", back)
    await log.append([Draft("a", b"1")])
    assert [len(m.data) for m in await tail.take(kept + 1)] == [len(big)] * kept + [1]
    assert len(await data_of(log, "a")) == kept + 1
    await tail.close()
    await log.close()


@pytest.mark.parametrize("is_kept", [True, False])
async def test_an_append_whose_commit_failed_is_told_if_it_is_there_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """What a failed commit wrote may be in the file or not; followers hear what the file says."""
    log = SqliteLog(f"sqlite:///{tmp_path / 'tidings.db'}")
    await log.open()
    tail = Tail(log)
    await tail.life()
    first = (await log.append([Draft("a", b"1", idempotency_key="1")]))[0].cursor.position
    transaction = File.transaction

    @contextmanager
    def failing(self: File, *, single: bool = False) -> Iterator[None]:
        with transaction(self, single=single):
            yield
            if not is_kept:
                raise sqlite3.OperationalError("disk I/O error")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(File, "transaction", failing)
        refused = log.append([Draft("a", b"2", idempotency_key="2")])
        with pytest.raises(Refusal):
            await refused

    async def back() -> bool:
        return not log.refusing

    await until("it is taken up again", back)
    again = (await log.append([Draft("a", b"2", idempotency_key="2")]))[0]
    assert again.duplicate == is_kept
    assert again.cursor.position == first + 1
    last = (await log.append([Draft("a", b"3")]))[0].cursor.position
    assert [(m.position, m.data) for m in await tail.take(3)] == [
        (first, b"1"),
        (first + 1, b"2"),
        (last, b"3"),
    ]
    await tail.close()
    await log.close()


async def test_a_file_that_lost_what_was_told_begins_another_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stored`, and the disk lost what the kernel had not written: a position would be given out twice."""
    log = SqliteLog(f"sqlite:///{tmp_path / 'tidings.db'}?durability=stored")
    await log.open()
    tail = Tail(log)
    epoch = (await tail.life()).epoch
    await log.append([Draft("a", b"1"), Draft("a", b"2")])
    await tail.take(2)

    def losing(file: File) -> Callable[[], None]:
        def lose() -> None:
            file._connection.execute("DELETE FROM message WHERE position = 2")
            raise sqlite3.OperationalError("disk I/O error")

        return lose

    file = log._writer._file
    assert file is not None
    log._writer.inbox.put(losing(file))
    while len(tail.told) < 2:
        await tail.step()
    assert log.epoch != epoch
    (position,) = [r.cursor.position for r in await log.append([Draft("a", b"3")])]
    assert [(m.epoch, m.position, m.data) for m in await tail.take(2)] == [
        (log.epoch, 1, b"1"),
        (log.epoch, position, b"3"),
    ]
    await tail.close()
    await log.close()
