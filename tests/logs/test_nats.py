"""Where a log in NATS JetStream is: URLs, credentials, the stream, and that nothing is left behind."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.nats import NatsServer, certificate
from logs.following import until
from logs.on_nats import numbers, opened, put, raw, watched
from logs.stopwatch import Stopwatch
from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.logs import open_log
from tidings.logs.nats import NatsLog

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as started:
        yield started


async def test_two_partitions_are_two_logs(server: NatsServer) -> None:
    async with (
        opened(server.url, partition=0) as zero,
        opened(server.url, partition=1) as one,
        watched(zero) as first,
        watched(one) as second,
    ):
        await put(zero, 0)
        await put(one, 1)
        await first.until("its own", lambda w: w.data() == numbers(0))
        await second.until("its own", lambda w: w.data() == numbers(1))
        assert zero.epoch != one.epoch


async def test_a_stream_that_is_not_ours_is_left_alone(server: NatsServer) -> None:
    async with raw(server) as ask:
        await ask("STREAM.CREATE.orders", {"name": "orders", "subjects": ["orders.>"], "storage": "file"})
        before = (await ask("STREAM.INFO.orders"))["config"]
        with pytest.raises(SettingsError, match="not a Tidings log"):
            await open_log(f"{server.url}?name=orders").open()
        assert (await ask("STREAM.INFO.orders"))["config"] == before


async def test_a_memory_stream_says_memory_and_cannot_be_taken_for_a_file(server: NatsServer) -> None:
    async with opened(f"{server.url}?storage=memory") as log:
        assert (await put(log, 0)).durability == "memory"
        with pytest.raises(SettingsError, match="storage="):
            await open_log(server.url).open()
    async with opened(f"{server.url}?name=file") as log:
        assert (await put(log, 0)).durability == "stored"


async def test_a_changed_retention_is_given_to_the_stream(server: NatsServer) -> None:
    async with opened(server.url) as log:
        await put(log, 0)
    async with opened(server.url, Retention(age=1000, bytes=9_000_000)), raw(server) as ask:
        config = (await ask("STREAM.INFO.tidings"))["config"]
        assert (config["max_msgs"], config["max_bytes"]) == (10_000, 2_250_000)
        assert config["max_age"] == 1000 * 10**9


async def test_wrong_credentials_are_said_without_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    users = 'authorization { users: [{user: "ada", password: "se/cret:1"}] }'
    with NatsServer(tmp_path, users) as server:
        async with opened(f"nats://ada:se%2Fcret%3A1@{server.address}") as log:
            await put(log, 0)
        for wrong in ("ada:hunter2@", "hunter2@", ""):
            with Stopwatch() as watch, pytest.raises(SettingsError) as refused:
                await open_log(f"nats://{wrong}{server.address}").open()
            assert watch.seconds < 5
            assert "hunter2" not in str(refused.value)
            assert "Authorization" in str(refused.value)
            assert refused.value.__cause__ is None
        assert "hunter2" not in caplog.text
        assert "cret" not in caplog.text


async def test_a_user_without_jetstream_permissions_is_told_so(tmp_path: Path) -> None:
    users = (
        'authorization { users: [{user: "u", password: "hunter2", '
        'permissions: {publish: {deny: ["$JS.API.STREAM.>"]}}}] }'
    )
    with (
        NatsServer(tmp_path, users) as server,
        pytest.raises(SettingsError, match="permissions violation"),
    ):
        await open_log(f"nats://u:hunter2@{server.address}").open()


async def test_nobody_there_ends_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_OPEN_TIMEOUT", 0.5)
    with pytest.raises(SettingsError, match=r"nats://127\.0\.0\.1:1 cannot be used"):
        await open_log("nats://user:hunter2@127.0.0.1:1").open()


async def test_tls_is_checked_and_demanded(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    tls = f'tls {{ cert_file: "{pem}", key_file: "{key}" }}\nauthorization {{ token: "t0ken" }}'
    (tmp_path / "tls").mkdir()
    with NatsServer(tmp_path / "tls", tls) as server:
        async with opened(f"tls://t0ken@{server.address}?ca={pem}") as log, watched(log) as watch:
            await put(log, 1)
            await watch.until("it", lambda w: w.data() == numbers(1))
        with pytest.raises(SettingsError, match="certificate"):
            await open_log(f"tls://t0ken@{server.address}").open()


async def test_no_password_is_sent_in_the_clear_where_tls_was_asked_for() -> None:
    """Somebody on the way takes the offer of TLS out."""
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","headers":true,"max_payload":1048576}\r\n')
        heard.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        log = open_log(f"tls://ada:hunter2@127.0.0.1:{port}")
        with pytest.raises(SettingsError, match="TLS"):
            await log.open()
    assert b"".join(heard) == b""


@pytest.mark.parametrize(
    "url",
    [
        "nats://hunter2@h?nam=x",
        "nats://hunter2@h?name=a.b",
        "nats://hunter2@h?name=x&name=y",
        "nats://hunter2@h?replicas=0",
        "nats://hunter2@h?storage=tape",
        "nats://hunter2@h/path",
        "nats://hunter2@h:99999",
        "nats://hunter2@h:port",
        "nats://hunter2@",
        "nats://hunter2@h,,i",
        "nats://u:hunter2#x@h",
        "nats://h?password=hunter2",
        "nats://h?creds=/nowhere/hunter2",
    ],
)
def test_a_wrong_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_log(url)
    assert "hunter2" not in str(refused.value)


def test_several_servers_and_defaults() -> None:
    log = NatsLog("nats://h,[::1]:5,i:6?name=n&replicas=3", partition=2)
    assert log._node.place.servers == (("h", 4222), ("[::1]", 5), ("i", 6))
    assert (log._node.place.stream, log._node.place.replicas) == ("n-2", 3)
    assert "hunter2" not in repr(open_log("nats://u:hunter2@h")._node.place)  # type: ignore[attr-defined]


async def test_nothing_is_left_behind(server: NatsServer) -> None:
    tasks = len(asyncio.all_tasks())
    async with opened(server.url) as log:
        await put(log, 0)
        base = await server.counts()
        for _ in range(3):
            async with watched(log) as watch:
                await watch.until("it", lambda w: len(w.messages) >= 1)
                await log.read(["a", "b"], 0, 10)
                await consumers(server, base[2] + 1)
            await put(log, 1)
            await server_counts(server, base)
        async with watched(log), watched(log):
            pass
        await server_counts(server, base)
    await server_counts(server, (0, 0, 0))
    await until("its tasks are done", lambda: len(asyncio.all_tasks()) == tasks)


async def consumers(server: NatsServer, wanted: int) -> None:
    deadline = time.monotonic() + 10
    while (found := (await server.counts())[2]) != wanted:
        assert time.monotonic() < deadline, f"{found} consumers and not {wanted}"
        await asyncio.sleep(0.05)


async def server_counts(server: NatsServer, wanted: tuple[int, int, int]) -> None:
    deadline = time.monotonic() + 10
    while (found := await server.counts()) != wanted:
        assert time.monotonic() < deadline, f"{found} and not {wanted}"
        await asyncio.sleep(0.05)
