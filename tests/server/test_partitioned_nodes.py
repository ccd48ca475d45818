"""Two servers on a log of three partitions: clients hop between them and hear each message once."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import tidings
from engines.redis import RedisServer
from exactness.chaos_proxy import ChaosProxy
from kit import ServerProcess, serving
from raw import Wire
from story.clients import TRANSPORTS, connect
from tidings.client import Message
from tidings.client.choice import Transport

CHANNELS = tuple("abcdefgh")
COUNT = 240


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    redis = RedisServer(tmp_path_factory.mktemp("redis")).start()
    flags = ("--log", redis.url(), "--partitions", "3", "--drain", "0.2")
    with serving(*flags) as one, serving(*flags) as two:
        yield [one, two]
    redis.kill()
    for server in (one, two):
        assert "Traceback" not in "".join(server.errors)


@pytest.mark.parametrize("transport", [*TRANSPORTS, None])
async def test_the_python_client_hears_each_message_once(
    nodes: list[ServerProcess], transport: Transport | None, tmp_path: Path
) -> None:
    channels = [f"{tmp_path.name}-{channel}" for channel in CHANNELS]
    proxy = ChaosProxy("127.0.0.1", [node.port for node in nodes], 5)
    door = await proxy.door("client")
    chance = random.Random(3)
    published: list[tuple[str, int]] = []
    heard: list[tuple[str, int]] = []

    async def publish() -> None:
        for number in range(COUNT):
            channel = chance.choice(channels)
            async with tidings.connect(chance.choice(nodes).url) as publisher:
                await publisher.publish(channel, number)
            published.append((channel, number))
            if number % 40 == 20:
                proxy.cut_all()

    transports = None if transport is None else (transport,)
    async with tidings.connect(f"http://127.0.0.1:{door.port}", transports=transports) as client:
        feed = client.subscribe(*channels, interval=0.05)
        async with feed, asyncio.timeout(100):
            while feed.state.name != "live":  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)
            publishing = asyncio.create_task(publish())
            async for item in feed:
                assert isinstance(item, Message), item
                heard.append((item.channel, item.data))
                if len(heard) == COUNT:
                    break
            await publishing
    await proxy.close()
    assert len(set(heard)) == len(heard), "a message came twice"
    assert set(heard) == set(published)
    for channel in channels:
        assert [n for its, n in heard if its == channel] == [n for its, n in published if its == channel]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_of_several_partitions_is_good_at_both(
    nodes: list[ServerProcess], transport: str, tmp_path: Path
) -> None:
    one, two = nodes
    channels = [f"{tmp_path.name}-{channel}" for channel in CHANNELS]
    client = await connect(one, transport, *channels)
    wire = await Wire.connect(two)

    async def publish(number: int) -> str:
        headers = {"Content-Type": "application/json"}
        channel = f"{tmp_path.name}-{CHANNELS[number % 8]}"
        answer = await wire.ask("POST", f"/channels/{channel}", headers, b"%d" % number)
        return str(answer.body)

    for number in range(16):
        await publish(number)
    data = await client.data(16)
    assert sorted(data) == list(range(16))
    cursor = client.cursor
    assert cursor is not None
    assert cursor.count(".") > 1, "it has a place in several partitions"
    client.abort()
    for number in range(16, 24):
        await publish(number)
    again = await connect(two, transport, *channels, query={"after": cursor})
    assert sorted(await again.data(8)) == list(range(16, 24))
    assert again.gaps == []
    again.abort()


async def test_channels_of_too_many_partitions_are_refused(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis").start()
    try:
        with serving("--log", redis.url(), "--partitions", "16") as server:
            wire = await Wire.connect(server)
            answer = await wire.ask("GET", "/channels/" + ",".join(f"c{n}" for n in range(60)))
            assert answer.status == 400
            assert b"too_many_channels" in answer.body
            assert b"partitions" in answer.body
    finally:
        redis.kill()


@pytest.mark.parametrize("log", ["memory://", "sqlite:///x.db"])
def test_a_log_of_one_process_has_no_partitions(log: str) -> None:
    with pytest.raises(RuntimeError, match="--partitions is for a log that several machines share"):
        ServerProcess("--log", log, "--partitions", "2")
