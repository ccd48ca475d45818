"""The log in Redis: who may use it, over what, and what others write beside it."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engines.redis import RedisServer, certificate
from logs.ear import Ear
from logs.on_redis import RULES, all_hear, draft, nodes, numbers, opened, published
from logs.stopwatch import Stopwatch
from tidings.core import limits
from tidings.core.errors import Refusal, SettingsError
from tidings.core.history import Retention
from tidings.core.message import Draft, Durability, Life
from tidings.logs import open_log
from tidings.wire import record

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path / "redis").start()
    yield made
    made.kill()


# --- who may, and over what ---------------------------------------------------------------------------


async def test_a_user_needs_only_these_rights(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "tidings", *RULES.split(), ">pass:w@rd")
    url = server.url(user="tidings:pass%3Aw%40rd@")
    async with opened(url, Retention(age=0.1, bytes=20_000)) as log, Ear(log) as ear:
        for n in range(100):
            await log.append([draft(n, key=f"k{n}")])
        await ear.until(lambda ear: ear.data[-1:] == [b"99"], "it hears the last")
        await log.read(["a"], 0, 10)
    # What it need not be, it is not.
    server.call("ACL", "SETUSER", "tidings", "-config|get", "-select")
    async with opened(url) as log:
        assert (await log.append([draft(1)]))[0].durability is Durability.STORED
    assert not server.call("ACL", "LOG") or b"config" in str(server.call("ACL", "LOG")).encode()


@pytest.mark.parametrize("user", ["tidings:wr0ng@", "wr0ng:other@", ":wr0ng@"])
async def test_a_wrong_password_is_said_and_not_shown(
    server: RedisServer, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.call("ACL", "SETUSER", "tidings", *RULES.split(), ">right")
    log = open_log(server.url(user=user))
    with Stopwatch() as watch, pytest.raises(SettingsError, match="user and password") as caught:
        await log.open()
    assert watch.seconds < 2
    assert "wr0ng" not in str(caught.value) + caplog.text
    await log.close()


async def test_a_user_who_may_not_use_the_keys_is_said_so(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "tidings", *RULES.split(), ">right")
    log = open_log(server.url("other", user="tidings:right@"))
    with pytest.raises(SettingsError, match="too little on its keys"):
        await log.open()
    await log.close()


async def test_a_redis_that_is_not_there_is_said_so(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kill()
    monkeypatch.setattr(limits, "LOG_OPEN_TIMEOUT", 1.0)
    log = open_log(server.url(user="tidings:s3cret@"))
    with pytest.raises(SettingsError, match=f"127.0.0.1:{server.port}") as caught:
        await log.open()
    assert "s3cret" not in str(caught.value)
    await log.close()


async def test_keys_of_somebody_else_are_left_alone(server: RedisServer) -> None:
    server.call("SET", "{one}:log", "text")
    server.call("SET", "{two}:meta", "text")
    server.call("XADD", "{three}:log", "*", "some", "thing")
    for name in ("one", "two", "three"):
        log = open_log(server.url(name))
        with pytest.raises(SettingsError, match="choose another name"):
            await log.open()
        await log.close()
    assert server.call("XLEN", "{three}:log") == 1


async def test_over_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    server = RedisServer(tmp_path / "redis", tls=(cert, key)).start()
    try:
        async with opened(server.url(scheme="rediss", more=f"&ca={cert}")) as log, Ear(log) as ear:
            big = b'"' + b"x" * 60_000 + b'"'
            await log.append([Draft("a", big)] * 20)
            await ear.until(lambda ear: len(ear.data) == 20, "it hears all")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "LOG_OPEN_TIMEOUT", 0.5)
            with pytest.raises(SettingsError, match="SSLCertVerificationError"):
                await open_log(server.url(scheme="rediss")).open()
    finally:
        server.kill()


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/0?nmae=x",
        "redis://h/0?ca=/x",
        "rediss://h/0?ca=/nonexistent",
        "redis://h/first",
        "redis://h:99999/0",
        "redis://us:s3cret@:1/0",
        "redis:///0",
        "redis://h/0?name=a*b",
        "redis://h/0?name=",
        "redis+sentinel://h1,h2",
        "redis+sentinel://us:s3cret@h1,h 2/x/0",
        "redis://[::1",
    ],
)
def test_a_url_that_says_nothing_sensible_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_log(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_on_uvloop(tmp_path: Path, scheme: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    cert, key = certificate(tmp_path)
    server = RedisServer(tmp_path / "redis", tls=(cert, key) if scheme == "rediss" else None).start()
    more = f"&ca={cert}" if scheme == "rediss" else ""

    async def story() -> None:
        async with opened(server.url(scheme=scheme, more=more)) as log, Ear(log) as ear:
            await asyncio.gather(*(log.append([draft(n)]) for n in range(100)))
            server.call("CLIENT", "KILL", "TYPE", "normal")
            await published(log, draft(100, key="k"))
            await all_hear([ear], numbers(*range(101)))
            server.call("FLUSHALL")
            await published(log, draft(101, key="l"))
            await all_hear([ear], numbers(101))

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(story())
    finally:
        server.kill()


# --- what others write --------------------------------------------------------------------------------


async def test_entries_of_others_are_passed_over_with_a_line(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    good = record.pack(draft(7))
    foreign: list[tuple[str | bytes, ...]] = [
        ("*", "some", "thing"),
        ("*", "x", "no numbers", "d", good),
        ("*", "x", "1 1 1 1", "d", good),
        ("*", "x", b"\xff \xff \xff", "d", good),
        ("*", "d", good),
    ]
    async with nodes(server, 2) as (logs, ears):
        await logs[0].append([draft(0)])
        with caplog.at_level(logging.WARNING, "tidings.logs"):
            for n, entry in enumerate(foreign):
                server.call("XADD", "{tidings}:log", *entry)
                await logs[n % 2].append([draft(n + 1)])
            await all_hear(ears, numbers(*range(6)))
        assert {len(ear.lives) for ear in ears} == {1}
        assert len([r for r in caplog.records if "not ours" in r.message]) == 2 * len(foreign)
        assert all("\n" not in r.message for r in caplog.records)
        async with Ear(logs[1]) as late:
            await all_hear([late], numbers(*range(6)))
        # The highest id there is: nothing can stand behind it.
        server.call("XADD", "{tidings}:log", f"{2**64 - 1}-{2**64 - 1}", "some", "thing")
        await logs[0].append([draft(10)])
        await all_hear(ears, numbers(10))


async def test_a_record_that_is_not_ours_is_passed_over(server: RedisServer) -> None:
    async with nodes(server, 1) as ([log], ears):
        await log.append([draft(0)])
        head, link = server.call("HMGET", "{tidings}:meta", "head", "link")
        # One that continues the chain, as only who reads it could write. Above any nonce of ours at that
        # position, so that we go on behind it.
        name = f"{int(head) + 1}-{2**63}"
        server.call("XADD", "{tidings}:log", name, "x", b"1 1 " + link, "d", "junk")
        await log.append([draft(1)])
        await all_hear(ears, numbers(0, 1))


async def test_partitions_and_names_keep_apart(server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(opened(server.url(), partition=0))
        two = await stack.enter_async_context(opened(server.url(), partition=1))
        three = await stack.enter_async_context(opened(server.url("tidings.9")))
        for n, log in enumerate((one, two, three)):
            await log.append([draft(n, key="k")])
            assert [m.data for m in await log.read(["a"], 0, 10)] == numbers(n)
        assert len({one.epoch, two.epoch, three.epoch}) == 3


async def test_a_cluster_takes_the_keys_for_one_slot(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "cluster-enabled yes").start()
    try:
        server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        server.until(lambda info: b"cluster_state:ok" in info, "CLUSTER", "INFO")
        async with opened(server.url(), partition=3) as log, Ear(log) as ear:
            await log.append([draft(1, key="k"), draft(2)])
            await ear.until(lambda ear: ear.data == numbers(1, 2), "it hears both")
    finally:
        server.kill()


@pytest.mark.slow
async def test_any_node_of_a_cluster_leads_to_the_one_that_has_the_keys(tmp_path: Path) -> None:
    servers = [RedisServer(tmp_path / name, "cluster-enabled yes").start() for name in ("one", "two")]
    try:
        servers[0].call("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        servers[1].call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        servers[0].call("CLUSTER", "MEET", "127.0.0.1", servers[1].port)
        for server in servers:
            server.until(
                lambda info: b"cluster_state:ok" in info and b"known_nodes:2" in info, "CLUSTER", "INFO"
            )
        dead = RedisServer(tmp_path / "dead").port
        for partition in range(4):
            url = f"redis://127.0.0.1:{dead},127.0.0.1:{servers[0].port}/0"
            async with opened(url, partition=partition) as log, Ear(log) as ear:
                await log.append([draft(1, key="k"), draft(2)])
                await ear.until(lambda ear: ear.data == numbers(1, 2), "it hears both")
        kept = [len(server.call("KEYS", "{tidings.*}:log")) for server in servers]
        assert sum(kept) == 4
        assert all(kept)
    finally:
        for server in servers:
            server.kill()


async def test_a_redis_without_room_refuses_and_readers_live_on(server: RedisServer) -> None:
    async with nodes(server, 1) as ([log], ears):
        await log.append([draft(1)])
        server.call("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(Refusal, match="OOM"):
            await log.append([draft(2)])
        assert [m.data for m in await log.read(["a"], 0, 10)] == numbers(1)
        server.call("CONFIG", "SET", "maxmemory", "0")
        await log.append([draft(3)])
        await all_hear(ears, numbers(1, 3))
        assert isinstance(ears[0].told[0], Life)
