"""The log in a file against a plain list: appends, time, restarts and followers in random order."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.message import Draft, Hole, Life, Message
from tidings.logs.base import Batch
from tidings.logs.sqlite import SqliteLog

pytestmark = pytest.mark.usefixtures("patient")


@dataclass
class Reader:
    """A follower, and what it may expect: each message that was appended, or to know that it is lost."""

    batches: AsyncIterator[Batch]
    position: int = 0
    seen: list[Message] = field(default_factory=list)
    lost_through: int = 0
    marks: dict[str, int] = field(default_factory=dict)

    async def step(self) -> None:
        batch = await anext(self.batches)
        if isinstance(batch, Life):
            assert not self.position, "one life is told once"
            self.lost_through, self.marks = batch.lost_through, dict(batch.marks)
        elif isinstance(batch, Hole):
            assert batch.through > self.position
            self.position = self.lost_through = batch.through
            self.marks = {}
        else:
            positions = [m.position for m in batch]
            assert positions == sorted(set(positions))
            assert positions[0] > self.position
            self.position = positions[-1]
            self.seen += batch

    def check(self, appended: list[Message]) -> None:
        """Nothing came twice or out of order; what did not come up to here is known to be lost."""
        seen = {m.position: (m.channel, m.data) for m in self.seen}
        assert len(seen) == len(self.seen)
        for message in appended:
            if message.position > self.position:
                break
            if message.position in seen:
                assert seen[message.position] == (message.channel, message.data)
            else:
                assert message.position <= self.lost(message.channel), "a silent hole"

    def lost(self, channel: str) -> int:
        """Up to where messages of `channel` may be gone, as far as it was told."""
        return self.marks.get(channel, self.lost_through)


@pytest.mark.parametrize("seed", range(8))
async def test_every_message_is_kept_or_known_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(limits, "LOG_DROP_STEP", chance.choice([1, 3, 256]))
    monkeypatch.setattr(limits, "ANSWER_MESSAGES_MOST", chance.choice([2, 7, 1000]))
    monkeypatch.setattr(limits, "LOG_PENDING", 60)
    monkeypatch.setattr(limits, "LOG_FOLLOW_PATIENCE", chance.choice([0.0, 10.0]))
    retention = Retention(
        count=chance.choice([3, 10, 50]),
        age=chance.choice([5.0, 1000.0]),
        bytes=chance.choice([20_000, 1_000_000]),
        marks=chance.choice([0, 2, 100]),
    )
    now = 1_000_000.0
    url = f"sqlite:///{tmp_path / 'tidings.db'}?durability=stored"
    appended: list[Message] = []
    # What the log says it lost never shrinks.
    said: dict[str, int] = {}

    async def opened() -> SqliteLog:
        log = SqliteLog(url, retention, clock=lambda: now)
        await log.open()
        return log

    log = await opened()
    epoch = log.epoch
    readers: list[Reader] = []
    channels = "abcdefgh"
    for step in range(150):
        match chance.choices(["append", "pass", "restart", "follow", "read", "leave"], [60, 8, 3, 6, 20, 3])[
            0
        ]:
            case "append":
                busy = channels[: chance.choice([1, 3, 8])]
                drafts = [
                    Draft(chance.choice(busy), b"%d" % (step * 100 + n)) for n in range(chance.randint(1, 20))
                ]
                for draft, receipt in zip(drafts, await log.append(drafts), strict=True):
                    position = receipt.cursor.position
                    assert position > (appended[-1].position if appended else 0)
                    appended.append(Message(epoch, position, draft.channel, int(now * 1000), draft.data))
            case "pass":
                now += chance.choice([0.5, 3.0, 20.0])
            case "restart":
                for reader in readers:
                    reader.check(appended)
                readers = []
                await log.close()
                log = await opened()
                assert log.epoch == epoch
                assert log.head == (appended[-1].position if appended else 0)
            case "follow":
                readers.append(Reader(log.follow()))
                await readers[-1].step()
                before = readers[-1]
                kept = {m.position for m in await log.read(channels, 0, 100_000)}
                after = Reader(log.follow())
                await after.step()
                await after.batches.aclose()  # type: ignore[attr-defined]  # an async generator
                for channel in channels:
                    assert said.get(channel, 0) <= before.lost(channel) <= after.lost(channel)
                    said[channel] = after.lost(channel)
                # Dropping may have gone on while it was read.
                for message in appended:
                    if message.position <= before.lost(message.channel):
                        assert message.position not in kept
                    if message.position > after.lost(message.channel):
                        assert message.position in kept
            case "read":
                for reader in chance.sample(readers, min(2, len(readers))):
                    for _ in range(chance.randint(1, 4)):
                        if reader.position < log.head:
                            await reader.step()
                    reader.check(appended)
            case "leave":
                if readers:
                    reader = readers.pop(chance.randrange(len(readers)))
                    await reader.batches.aclose()  # type: ignore[attr-defined]  # an async generator
    # In the end those who read on come to the head, and less is kept than a quarter beyond the bound.
    for reader in readers:
        while reader.position < log.head:
            await reader.step()
        reader.check(appended)
    await log.append([Draft("end", b"0")])
    newest = {c: [m for m in appended if m.channel == c][-retention.count :] for c in channels}
    kept_now = await log.read(channels, 0, 100_000)
    young = int((now - retention.age) * 1000)
    if retention.bytes > 100_000:
        for channel, messages in newest.items():
            kept_positions = {m.position for m in kept_now if m.channel == channel}
            assert {m.position for m in messages if m.time_ms >= young} <= kept_positions
    await log.close()
