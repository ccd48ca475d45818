"""Several nodes on one stream, and whatever may go wrong at random moments: what was told stays true."""

import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import pytest

from engines.nats import NatsServer, cluster, wait_for_leader
from logs.following import Watch, consistent, until
from tidings.core.errors import Refusal
from tidings.core.history import Retention
from tidings.core.message import Draft, Receipt
from tidings.logs import Log, open_log

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 1_000_000)
SECONDS = float(os.environ.get("NATS_RANDOM_SECONDS", "12"))
_log = logging.getLogger("tests.nats")
EVERYTHING = Retention(count=1_000_000, bytes=1 << 30)


class Scene:
    """Three nodes, each with two publishers and a follower, on one server that a nemesis has."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.chance = random.Random(SEED)
        self.logs: list[Log] = []
        self.watches: list[Watch] = []
        self.acknowledged: dict[bytes, list[Receipt]] = {}
        self.stopping = False
        self.copies: list[tuple[float, Path]] = []

    async def publish(self, log: Log, name: str) -> None:
        """Publish one message after the other, each until it is acknowledged, some of them in batches."""
        number = 0
        chance = random.Random(f"{SEED} {name}")
        while not self.stopping:
            drafts = []
            for _ in range(chance.choice([1, 1, 1, 5, 20])):
                number += 1
                data = f'"{name} {number}"'.encode()
                drafts.append(Draft(f"c{number % 3}", data, idempotency_key=f"{name}-{number}"))
            while True:
                with contextlib.suppress(Refusal):
                    receipts = await log.append(drafts)
                    break
                await asyncio.sleep(0.02)
            for draft, receipt in zip(drafts, receipts, strict=True):
                self.acknowledged.setdefault(draft.data, []).append(receipt)
            await asyncio.sleep(chance.random() * 0.01)

    async def ask(self, verb: str) -> dict[str, object]:
        client = await nats.connect(self.server.url)
        answer = await client.request(f"$JS.API.{verb}", b"{}", timeout=5)
        await client.close()
        found: dict[str, object] = json.loads(answer.data)
        return found

    # Each fault ends with a server that runs.

    async def crash(self) -> None:
        self.server.kill()
        await asyncio.sleep(self.chance.random() * 0.5)
        await asyncio.to_thread(self.server.start)

    async def freeze(self) -> None:
        self.server.freeze()
        await asyncio.sleep(self.chance.choice([0.1, 0.5, 3.0]))
        self.server.thaw()

    async def lose_consumers(self) -> None:
        names = (await self.ask("CONSUMER.NAMES.tidings")).get("consumers")
        for name in names if isinstance(names, list) else []:
            await self.ask(f"CONSUMER.DELETE.tidings.{name}")

    async def empty(self) -> None:
        await asyncio.to_thread(self.server.empty)

    async def delete(self) -> None:
        await self.ask("STREAM.DELETE.tidings")

    async def lose_tail(self) -> None:
        copy = self.server.folder / f"copy{len(self.copies)}"
        self.server.kill()
        await asyncio.to_thread(shutil.copytree, self.server.store, copy)
        self.copies.append((time.monotonic(), copy))
        await asyncio.to_thread(self.server.start)
        await asyncio.sleep(2)
        await asyncio.to_thread(self.server.put_back, self.chance.choice(self.copies)[1])

    async def run(self, faults: list[Callable[[], Awaitable[None]]]) -> None:
        _log.warning("SEED=%d", SEED)
        for _ in range(3):
            log = open_log(self.server.url, EVERYTHING)
            await log.open()
            self.logs.append(log)
            self.watches.append(Watch(log))
        publishers = [
            asyncio.ensure_future(self.publish(log, f"p{index}{n}"))
            for index, log in enumerate(self.logs)
            for n in range(2)
        ]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(self.chance.random() * 1.5)
            fault = self.chance.choice(faults)
            _log.warning("fault %s", fault.__name__)
            await fault()
        self.stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*publishers)
        # A last one in the last life, which all must come to see.
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(Refusal):
                    await asyncio.sleep(1.5)
                    last = (await self.logs[0].append([Draft("end", b'"end"')]))[0].cursor
                    if {log.epoch for log in self.logs} == {last.epoch}:
                        break
        for watch in self.watches:
            await watch.until(
                "the end",
                lambda w: any((m.epoch, m.position) == (last.epoch, last.position) for m in w.messages),
            )
        self.last = last

    async def close(self) -> None:
        for watch in self.watches:
            await watch.close()
        for log in self.logs:
            await log.close()

    def check(self) -> None:
        """What holds whatever happened."""
        consistent(*self.watches)
        endings = []
        for watch in self.watches:
            assert watch.lives[-1].epoch == self.last.epoch
            assert watch.lives[-1].lost_through == 0
            endings.append(
                [(m.position, m.channel, m.data) for m in watch.messages if m.epoch == self.last.epoch]
            )
        assert endings[0] == endings[1] == endings[2]
        at = {position: data for position, _, data in endings[0]}
        for data, receipts in self.acknowledged.items():
            for receipt in receipts:
                if receipt.cursor.epoch == self.last.epoch:
                    assert at[receipt.cursor.position] == data


async def test_crashes_and_stops_lose_and_repeat_nothing(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        scene = Scene(server)
        try:
            await scene.run([scene.crash, scene.freeze, scene.lose_consumers])
            scene.check()
            for watch in scene.watches:
                assert len(watch.lives) == 1
                assert not watch.holes
                told = watch.data()
                assert len(told) == len(set(told)), "one message for each key"
                assert set(told) >= set(scene.acknowledged)
        finally:
            await scene.close()
        assert len(scene.acknowledged) > 100
        await until("nothing is left behind", lambda: server.monitor("connz")["num_connections"] == 0)


async def test_no_two_messages_are_told_under_one_position_whatever_happens(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        scene = Scene(server)
        try:
            await scene.run(
                [scene.crash, scene.freeze, scene.lose_consumers, scene.empty, scene.delete, scene.lose_tail]
            )
            scene.check()
        finally:
            await scene.close()


@pytest.mark.timeout(600)
async def test_a_cluster_that_loses_one_server_after_the_other_loses_nothing(tmp_path: Path) -> None:
    servers = cluster(tmp_path)
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        wait_for_leader(servers)
        url = "nats://" + ",".join(server.address for server in servers) + "?replicas=3"
        logs = [open_log(url, EVERYTHING) for _ in range(2)]
        for log in logs:
            await log.open()
        scene = Scene(servers[0])
        watches = [Watch(log) for log in logs]
        publishers = [asyncio.ensure_future(scene.publish(log, f"p{n}")) for n, log in enumerate(logs)]
        for server in servers[:2]:
            await asyncio.sleep(1)
            server.kill()
            before = len(scene.acknowledged)
            # An election takes some seconds, and what waits for the first answer behind it is more.
            await until("the others go on", lambda n=before: len(scene.acknowledged) > n + 50, 200)  # type: ignore[misc]
            await asyncio.to_thread(server.start)
        scene.stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*publishers)
        for watch in watches:
            await watch.until("all", lambda w: set(w.data()) >= set(scene.acknowledged), 60)
            assert len(watch.lives) == 1
            assert not watch.holes
            assert len(watch.data()) == len(set(watch.data()))
        consistent(*watches)
        for watch, log in zip(watches, logs, strict=True):
            await watch.close()
            await log.close()
