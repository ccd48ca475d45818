"""The log in a file: what is its own, besides what every log promises (test_logs.py)."""

# ruff: noqa: ASYNC221, ASYNC240 - nothing else runs in these tests' event loops

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from logs.files import opened, state
from logs.test_logs import Tail, data_of, draft, until
from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.message import Durability
from tidings.logs import open_log
from tidings.logs.sqlite import SqliteLog
from tidings.logs.sqlite.log import parse

pytestmark = pytest.mark.usefixtures("patient")

APPENDER = Path(__file__).with_name("appender.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tidings.db"


def killed(path: Path, durability: str) -> None:
    """Have another process append for a moment, and die without a word."""
    code = f"""
import asyncio, os
from tidings.core.message import Draft
from tidings.logs import open_log
async def main():
    log = open_log("sqlite:///{path}?durability={durability}")
    await log.open()
    await log.append([Draft("a", b'"from the one that was killed"')])
    os._exit(9)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9


# --- what is named, and what is refused -------------------------------------------------------------


def test_a_url_names_a_file_and_a_durability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("sqlite:///tidings.db") == (tmp_path / "tidings.db", Durability.SYNCED)
    assert parse("sqlite:////var/lib/a%20b.db?durability=stored") == (
        Path("/var/lib/a b.db"),
        Durability.STORED,
    )
    assert parse("sqlite:///a.db?durability=synced")[1] is Durability.SYNCED


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://tidings.db", "sqlite:///FILE"),
        ("sqlite:///", "sqlite:///FILE"),
        ("sqlite:///a.db?mode=ro", "no parameter 'mode'"),
        ("sqlite:///a.db?durability=memory", "synced"),
        ("sqlite:///a.db?durability=", "synced"),
    ],
)
def test_a_url_that_names_nothing_is_refused_with_what_to_do(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_log(url)


async def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Make its folder"):
        await opened(tmp_path / "nowhere" / "tidings.db")


async def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"this is somebody's text, and no database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="not a log of Tidings"):
        await opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
async def test_a_database_of_others_is_refused_and_left_as_it_is(path: Path, mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="not a log of Tidings"):
        await opened(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


async def test_another_version_of_the_format_is_refused(path: Path) -> None:
    await (await opened(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(SettingsError, match="version 2 of the format"):
        await opened(path)


async def test_a_second_server_is_refused_and_harms_nothing(path: Path) -> None:
    log = await opened(path)
    other = subprocess.run(
        [sys.executable, str(APPENDER), f"sqlite:///{path}", "1"], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert "SettingsError: Another server has" in other.stderr
    with pytest.raises(SettingsError, match="Another server has"):
        await opened(path)
    await log.append([draft(1)])
    await log.close()
    log = await opened(path)
    assert await data_of(log, "a") == [b"1"]
    await log.close()


async def test_the_file_is_for_its_owner_only(path: Path) -> None:
    log = await opened(path)
    await log.append([draft(1)])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await log.close()


# --- commits ----------------------------------------------------------------------------------------


async def test_what_is_appended_in_one_turn_of_the_loop_is_one_commit(path: Path) -> None:
    log = await opened(path)
    answers = await asyncio.gather(*(log.append([draft(n)]) for n in range(100)))
    assert [a[0].durability for a in answers] == [Durability.SYNCED] * 100
    assert log.commits == 1
    await asyncio.gather(*(log.append([draft(n, key=f"k{n}")]) for n in range(limits.LOG_GROUP * 2)))
    assert log.commits == 3
    await log.close()


async def test_duplicates_alone_are_no_commit(path: Path) -> None:
    log = await opened(path, durability="stored")
    assert (await log.append([draft(1, key="k")]))[0].durability is Durability.STORED
    assert (await log.append([draft(1, key="k")]))[0].duplicate
    assert log.commits == 1
    await log.close()


async def test_a_follower_hears_of_a_message_no_later_than_its_publisher(path: Path) -> None:
    log = await opened(path)
    tail = Tail(log)
    await tail.life()
    heard = asyncio.ensure_future(tail.take(1))
    await asyncio.sleep(0)
    receipts = await log.append([draft(1)])
    assert log.head == receipts[0].cursor.position
    assert heard.done()
    assert heard.result()[0].position == log.head
    await tail.close()
    await log.close()


async def test_more_than_may_wait_is_refused_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_PENDING", 10)
    log = await opened(path)
    taken, refused = log.append([draft(n) for n in range(8)]), log.append([draft(n) for n in range(3)])
    assert refused.done()
    with pytest.raises(Refusal, match="too many messages wait"):
        await refused
    assert len(await taken) == 8
    assert len(await log.append([draft(n) for n in range(10)])) == 10
    await log.close()


async def test_a_disk_that_does_not_answer_is_told_within_the_time_limit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await opened(path)
    go_on = threading.Event()
    log._writer.inbox.put(partial(go_on.wait, 60))  # type: ignore[arg-type]  # what it returns is dropped
    patience = limits.LOG_TIMEOUT
    monkeypatch.setattr(limits, "LOG_TIMEOUT", 0.1)
    first, second = log.append([draft(1)]), log.append([draft(2)])
    for future in (first, second):
        with pytest.raises(Refusal, match="does not answer"):
            await future
    assert log.refusing
    with pytest.raises(Refusal, match="does not answer"):
        await log.read(["a"], 0, 10)
    at_once = log.append([draft(3)])
    assert at_once.done()
    assert at_once.exception() is not None
    monkeypatch.setattr(limits, "LOG_TIMEOUT", patience)
    go_on.set()

    async def back() -> bool:
        return not log.refusing

    await until("the log is back", back)
    await log.append([draft(4)])
    # Whether those were kept was not known. They were.
    assert await data_of(log, "a") == [b"1", b"2", b"4"]
    await log.close()


# --- lives ------------------------------------------------------------------------------------------


async def test_a_new_file_is_a_new_life(path: Path) -> None:
    log = await opened(path)
    epoch = log.epoch
    await log.close()
    path.unlink()
    log = await opened(path)
    assert (log.epoch != epoch, log.head) == (True, 0)
    await log.close()


async def copied_beside(path: Path) -> Path:
    return Path(shutil.copy2(path, path.with_name("copy.db")))


async def copied_over(path: Path) -> Path:
    """Go on for a while, and then write an older copy over the file: the same inode."""
    backup = Path(shutil.copy2(path, path.with_name("backup.db")))
    log = await opened(path)
    await log.append([draft(99)])
    await log.close()
    inode = path.stat().st_ino
    path.write_bytes(backup.read_bytes())
    assert path.stat().st_ino == inode
    return path


def bears_attributes(folder: Path) -> bool:
    """Say whether files there can be marked, so that one that is written over is told from itself."""
    try:
        os.setxattr(folder, "user.tidings", b"1")
    except OSError:
        return False
    return True


@pytest.mark.parametrize("copied", [copied_beside, copied_over])
async def test_a_copy_is_another_life_in_which_the_messages_stay(
    path: Path, copied: Callable[[Path], Awaitable[Path]]
) -> None:
    if copied is copied_over and not bears_attributes(path.parent):
        pytest.skip("this file system has no attributes")
    log = await opened(path)
    await log.append([draft(1), draft(2, "b", key="k")])
    epoch, head = log.epoch, log.head
    await log.close()
    log = await opened(await copied(path))
    assert log.epoch != epoch
    life, kept = await state(log)
    assert life.epoch == log.epoch
    assert [(m.epoch, m.data) for m in kept] == [(log.epoch, b"1"), (log.epoch, b"2")]
    assert (await log.append([draft(3)]))[0].cursor.position > head
    assert (await log.append([draft(2, "b", key="k")]))[0].duplicate
    await log.close()


@pytest.mark.parametrize(
    ("durability", "clean", "rebooted", "goes_on"),
    [
        ("synced", True, True, True),
        ("synced", False, False, True),
        ("synced", False, True, True),  # what was acknowledged is on the disk
        ("stored", True, True, True),
        ("stored", False, False, True),  # a kill takes nothing from the kernel
        ("stored", False, True, False),  # a power cut may have
    ],
)
async def test_a_life_ends_where_its_last_messages_may_be_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, clean: bool, rebooted: bool, goes_on: bool
) -> None:
    log = await opened(path, durability=durability)
    epoch = log.epoch
    await log.append([draft(1)])
    await log.close()
    if not clean:
        killed(path, durability)
    if rebooted:
        monkeypatch.setattr("tidings.logs.sqlite.identity.boot", lambda: "another run of the machine")
    # What counts is how it was written, not how it will be.
    log = await opened(path)
    assert (log.epoch == epoch) == goes_on
    assert len(await data_of(log, "a")) == (1 if clean else 2)
    await log.close()


async def test_a_file_that_is_replaced_under_the_server_is_written_no_more(path: Path) -> None:
    """Its messages would go to a file that nobody finds again."""
    log = await opened(path)
    await log.append([draft(1)])
    away = path.rename(path.with_name("away.db"))
    path.write_bytes(b"")

    async def refused() -> bool:
        try:
            await log.append([draft(2)])
        except Refusal as refusal:
            return "removed or replaced" in refusal.detail
        return False

    await until("appends are refused", refused)
    assert log.refusing
    assert (await data_of(log, "a"))[0] == b"1"
    away.rename(path)

    async def taken() -> bool:
        return not await refused()

    await until("the file is back at its place", taken)
    path.rename(away)
    path.write_bytes(b"")
    await until("appends are refused again", refused)
    await log.close()
    # No WAL is left that would spoil the new file.
    assert {p.name for p in path.parent.iterdir()} == {away.name, path.name}
    connection = sqlite3.connect(away)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM message").fetchone()[0] >= 2
    connection.close()


async def test_a_closed_log_says_so(path: Path) -> None:
    log = await opened(path)
    closing = asyncio.gather(log.append([draft(1)]), log.close(), log.close())
    assert len((await closing)[0]) == 1
    with pytest.raises(Refusal, match="closed"):
        await log.append([draft(2)])
    with pytest.raises(Refusal, match="closed"):
        await log.read(["a"], 0, 1)
    await log.close()
    never_opened = SqliteLog(f"sqlite:///{path}")
    await never_opened.close()
