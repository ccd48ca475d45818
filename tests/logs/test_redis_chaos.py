"""Nodes that publish and follow through one Redis while it is killed, frozen, cut off and emptied.

`TIDINGS_CHAOS_SEED` and `TIDINGS_CHAOS_SECONDS` repeat a run, and make it longer.
"""

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engines.redis import RedisServer
from logs.ear import Ear, agree
from logs.on_redis import opened
from tidings.core.errors import Refusal
from tidings.core.message import Draft, Hole, Message

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("TIDINGS_CHAOS_SECONDS", "12"))


class Publisher:
    """Publishes numbers under keys, and asks again with the same key until it is answered."""

    def __init__(self, log: object, name: str) -> None:
        self.log = log
        self.name = name
        self.acknowledged: dict[bytes, tuple[str, int]] = {}
        self.ended = False

    async def run(self, chance: random.Random) -> None:
        number = 0
        while not self.ended:
            drafts = [
                Draft(
                    chance.choice("abc"),
                    b'"%s-%d"' % (self.name.encode(), number + n),
                    idempotency_key=f"{self.name}{number + n}",
                )
                for n in range(chance.randint(1, 5))
            ]
            number += len(drafts)
            while True:
                try:
                    receipts = await self.log.append(drafts)  # type: ignore[attr-defined]
                    break
                except Refusal:
                    await asyncio.sleep(0.02)
            for item, receipt in zip(drafts, receipts, strict=True):
                self.acknowledged[item.data] = (receipt.cursor.epoch, receipt.cursor.position)
            await asyncio.sleep(chance.random() * 0.01)


async def mischief(server: RedisServer, chance: random.Random, *, emptied: bool) -> list[str]:
    """Do harm until the time is up; return what was done."""
    kinds = ["kill", "freeze", "long freeze", "forget", "cut", "cut"] + ["empty"] * emptied
    done = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(0.1, 0.8))
        kind = chance.choice(kinds)
        done.append(kind)
        match kind:
            case "kill":
                server.kill()
                await asyncio.sleep(chance.uniform(0, 0.3))
                await asyncio.to_thread(server.start)
            case "freeze" | "long freeze":
                server.freeze()
                await asyncio.sleep(chance.uniform(0.1, 0.5) if kind == "freeze" else 3.5)
                server.thaw()
            case "forget":
                server.call("SCRIPT", "FLUSH")
            case "cut":
                server.call("CLIENT", "KILL", "TYPE", "normal")
            case "empty":
                server.call("FLUSHALL")
    return done


@pytest.mark.parametrize("emptied", [False, True], ids=["kept", "emptied"])
async def test_whatever_happens_to_redis_nobody_is_told_a_lie(tmp_path: Path, emptied: bool) -> None:
    seed = int(os.environ.get("TIDINGS_CHAOS_SEED", "0")) or random.randrange(1, 10**9)
    print(f"TIDINGS_CHAOS_SEED={seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    server = RedisServer(tmp_path / "redis").start()
    try:
        async with AsyncExitStack() as stack:
            logs = [await stack.enter_async_context(opened(server.url())) for _ in range(3)]
            ears = [await stack.enter_async_context(Ear(log)) for log in logs]
            publishers = [Publisher(log, f"p{n}") for n, log in enumerate(logs * 2)]
            tasks = [asyncio.create_task(p.run(random.Random(seed + n))) for n, p in enumerate(publishers)]
            done = await mischief(server, chance, emptied=emptied)
            for publisher in publishers:
                publisher.ended = True
            async with asyncio.timeout(20):
                await asyncio.gather(*tasks)
                last = (await logs[0].append([Draft("end", b'"end"')]))[0].cursor
            for ear in ears:
                await ear.until(lambda ear: ear.data[-1:] == [b'"end"'], f"it hears the end, after {done}")
            agree(ears)
            acknowledged = {data: place for p in publishers for data, place in p.acknowledged.items()}
            assert len(acknowledged) > 50
            for ear in ears:
                told = [m for m in ear.told if isinstance(m, Message)]
                where = {(m.epoch, m.position): m.data for m in told}
                # What was acknowledged stands where it was said to, in all that was told.
                for data, place in acknowledged.items():
                    assert where.get(place, data) == data
                if not emptied:
                    assert {place[0] for place in acknowledged.values()} == {last.epoch}
                    assert not any(isinstance(t, Hole) for t in ear.told)
                    missing = acknowledged.keys() - set(ear.data)
                    assert not missing, f"acknowledged, and never heard: {sorted(missing)[:5]}, after {done}"
                    assert len(ear.data) == len(set(ear.data)), "one message for each key"
            assert done
    finally:
        server.kill()
