"""A Redis behind Sentinel that fails over, with all it was told and without."""

import contextlib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import hiredis
import pytest

from engines.redis import RedisServer
from logs.ear import Ear, agree
from logs.on_redis import all_hear, draft, numbers, opened, published
from logs.stopwatch import Stopwatch
from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.logs import open_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Service:
    """A master, a replica, and a Sentinel that says which is which, and changes it when it is asked to.

    By itself it would also take a master that is only slow for one that is gone.
    """

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder / "one").start()
        self.replica = RedisServer(folder / "two", f"replicaof 127.0.0.1 {self.master.port}").start()
        self.sentinel = RedisServer(
            folder / "sentinel",
            f"sentinel monitor news 127.0.0.1 {self.master.port} 1",
            "sentinel down-after-milliseconds news 600000",
            "sentinel failover-timeout news 3000",
            "requirepass w4tch",
            sentinel=True,
        )
        self.sentinel.login("w4tch")
        self.sentinel.start()
        # Else it does nothing for half a minute after it was not let run for two seconds. Not before Redis 7.
        with contextlib.suppress(hiredis.ReplyError):
            self.sentinel.call("SENTINEL", "DEBUG", "tilt-trigger", 600_000)
        self.replica.until(lambda info: b"master_link_status:up" in info, "INFO", "replication")
        self.sentinel.until(lambda info: b"slaves=1" in info, "INFO", "sentinel")
        self.url = (
            f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/news/0?sentinel_password=w4tch"
        )

    def in_step(self) -> None:
        """Wait until the replica has all that the master has."""
        what = ("HGETALL", "{tidings}:meta")
        self.replica.until(lambda its: its == self.master.call(*what), *what)

    def part(self) -> None:
        """Let the replica hear nothing more from its master."""
        self.master.call("ACL", "SETUSER", "default", "-psync", "-sync")
        self.master.call("CLIENT", "KILL", "TYPE", "replica")

    def fail_over(self) -> None:
        """Kill the master, and wait until the replica is the master."""
        self.master.kill()

        def is_master(info: bytes) -> bool:
            if b"role:master" in info:
                return True
            # Refused while it is doing so; and it gives up when that takes long.
            with contextlib.suppress(hiredis.ReplyError):
                self.sentinel.call("SENTINEL", "FAILOVER", "news")
            return False

        self.replica.until(is_master, "INFO", "replication")
        self.master, self.replica = self.replica, self.master

    def rejoin(self) -> None:
        """Start the one that was killed; Sentinel makes it the replica."""
        self.replica.start()
        self.replica.until(lambda info: b"master_link_status:up" in info, "INFO", "replication")

    def end(self) -> None:
        for server in (self.sentinel, self.master, self.replica):
            server.kill()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.end()


async def test_a_lost_tail_is_another_life_and_nobody_is_told_two_things(service: Service) -> None:
    async with AsyncExitStack() as stack:
        logs = [await stack.enter_async_context(opened(service.url)) for _ in range(3)]
        ears = [await stack.enter_async_context(Ear(log)) for log in logs]
        await logs[0].append([draft(n, key=f"k{n}") for n in range(5)])
        service.in_step()
        service.part()
        await logs[1].append([draft(n, key=f"k{n}") for n in range(5, 8)])
        await all_hear(ears, numbers(*range(8)))
        service.fail_over()
        for n, log in enumerate(logs):
            await published(log, draft(n + 10, key=f"k{n + 10}"))
        again = await published(logs[0], draft(4, key="k4"), draft(7, key="k7"))
        assert [receipt.duplicate for receipt in again] == [True, False]
        await all_hear(ears, numbers(0, 1, 2, 3, 4, 10, 11, 12, 7))
        assert len({log.epoch for log in logs} | {ear.lives[-1].epoch for ear in ears}) == 1
        # And back again, this time with nothing lost.
        service.rejoin()
        await published(logs[2], draft(20, key="k20"))
        service.in_step()
        service.fail_over()
        await published(logs[2], draft(21, key="k21"))
        for ear in ears:
            await ear.until(lambda ear: ear.data[-2:] == numbers(20, 21), "it hears the last")
        agree(ears)


async def test_what_only_a_node_knew_that_is_gone_is_not_told_differently(service: Service) -> None:
    async with opened(service.url) as log, Ear(log) as ear:
        await log.append([draft(0)])
        service.in_step()
        service.part()
        await log.append([draft(1), draft(2)])
        await ear.until(lambda ear: ear.data == numbers(0, 1, 2), "it hears all")
    service.fail_over()
    async with opened(service.url) as other, Ear(other) as late:
        await published(other, draft(3))
        await late.until(lambda late: late.data == numbers(0, 3), "it hears what is kept")
        agree([ear, late])
        assert late.lives[-1].epoch != ear.lives[-1].epoch


async def test_a_failover_that_is_asked_for_goes_by_without_a_word_to_publishers(service: Service) -> None:
    async with opened(service.url) as log, Ear(log) as ear:
        await log.append([draft(0)])
        service.sentinel.call("SENTINEL", "FAILOVER", "news")
        service.replica.until(lambda info: b"role:master" in info, "INFO", "replication")
        with Stopwatch() as watch:
            for n in range(1, 20):
                await published(log, draft(n, key=f"k{n}"))
        assert watch.seconds < 10
        await ear.until(lambda ear: ear.data[-1:] == [b"19"], "it hears the last")
        agree([ear])


async def test_a_sentinel_that_refuses_us_or_knows_no_such_service_is_said_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="Sentinel refuses") as caught:
        await open_log(service.url.replace("w4tch", "wr0ng")).open()
    assert "wr0ng" not in str(caught.value)
    monkeypatch.setattr(limits, "LOG_OPEN_TIMEOUT", 1.0)
    with pytest.raises(SettingsError, match="no Sentinel names a master"):
        await open_log(service.url.replace("/news/", "/olds/")).open()
