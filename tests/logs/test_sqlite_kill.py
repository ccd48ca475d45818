"""The log in a file, killed at random moments: nothing that was acknowledged is missing."""

import asyncio
import os
import random
import selectors
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidings.core.message import Hole, Life, Message
from tidings.logs import open_log

APPENDER = Path(__file__).with_name("appender.py")


def run_and_kill(url: str, seconds: float, since: bytes) -> list[str]:
    """Append until `seconds` after a line `since` was printed, then kill; return the lines that were."""
    process = subprocess.Popen([sys.executable, str(APPENDER), url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = b""
    deadline = None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while deadline is None or time.monotonic() < deadline:
            if selector.select(None if deadline is None else max(0.0, deadline - time.monotonic())):
                part = os.read(process.stdout.fileno(), 1 << 16)
                assert part, f"it ended by itself: {printed[-500:]!r}"
                printed += part
                if deadline is None and any(line.startswith(since) for line in printed.splitlines()):
                    deadline = time.monotonic() + seconds
    process.kill()
    printed += process.stdout.read()
    process.stdout.close()
    process.wait()
    # The last line may be torn.
    return printed.decode().split("\n")[:-1]


async def all_kept(url: str) -> tuple[Life, list[Message]]:
    """Open the log and return what it has."""
    log = open_log(url)
    await log.open()
    life: Life | None = None
    messages: list[Message] = []
    following = log.follow()
    while life is None or (messages[-1].position if messages else life.lost_through) < log.head:
        batch = await anext(following)
        assert not isinstance(batch, Hole)
        if isinstance(batch, Life):
            life = batch
        else:
            messages += batch
    await following.aclose()  # type: ignore[attr-defined]  # an async generator
    await log.close()
    return life, messages


@pytest.mark.parametrize("rounds", [6, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
async def test_nothing_that_was_acknowledged_is_missing_after_a_kill(tmp_path: Path, rounds: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - to run it again
    chance = random.Random(seed)
    files = {d: tmp_path / f"{d}.db" for d in ("synced", "stored")}
    acknowledged: dict[str, dict[int, str]] = {d: {} for d in files}
    epochs: dict[str, set[str]] = {d: set() for d in files}

    async def round_of(durability: str, *, looked_into: bool, since: bytes) -> None:
        path = files[durability]
        url = f"sqlite:///{path}?durability={durability}"
        known = acknowledged[durability]
        for line in await asyncio.to_thread(run_and_kill, url, chance.uniform(0, 0.06), since):
            word, _, rest = line.partition(" ")
            if word == "ack":
                number, _, data = rest.partition(" ")
                # `data` is the channel and the message's own data.
                assert known.setdefault(int(number), data) == data, "a position was given out twice"
            elif word == "open":
                epochs[durability].add(rest.split()[0])
        if not looked_into:
            return  # killed again in the state that this kill left
        life, messages = await all_kept(url)
        kept = {m.position: f"{m.channel} {m.data.decode()}" for m in messages}
        assert len(kept) == len(messages)
        for position, data in known.items():
            if position > life.marks.get(data.partition(" ")[0], life.lost_through):
                assert kept[position] == data
            else:
                assert position not in kept
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()

    for n in range(1, rounds // 2 + 1):
        last = n == rounds // 2
        # Most often from when the log is open: a kill may come before anything was acknowledged.
        since = b"ack" if last else b"open"
        await asyncio.gather(*(round_of(d, looked_into=n % 5 == 0 or last, since=since) for d in files))
    for durability in files:
        assert acknowledged[durability], "something was acknowledged"
        assert len(epochs[durability]) == 1, "a kill begins no new epoch"
