"""Several servers on one Redis: a cursor is good at each, and a server that hears nothing says so."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from engines.nats import NatsServer
from engines.redis import RedisServer
from exactness.links import Closed, Events, Link, Socket
from kit import ServerProcess, serving
from story.clients import TRANSPORTS, connect

NAME = "/channels/news"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def nodes(redis: RedisServer, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two servers on a log of their own, whose URL is in the environment, as a password would be."""
    env = {"TIDINGS_LOG": redis.url(tmp_path.name)}
    with serving("--drain", "0.2", env=env) as one, serving("--drain", "0.2", env=env) as two:
        yield [one, two]
    for server in (one, two):
        assert "Traceback" not in "".join(server.errors)


async def post(server: ServerProcess, data: object, **headers: str) -> Any:
    link = await Link.open(server.port)
    fields = {"Content-Type": "application/json", **headers}
    answer = await link.ask("POST", NAME, fields, json.dumps(data).encode())
    link.abort()
    return answer.status, json.loads(answer.body)


async def get(server: ServerProcess, target: str, headers: dict[str, str] | None = None) -> Any:
    link = await Link.open(server.port)
    answer = await link.ask("GET", target, headers)
    link.abort()
    return answer


async def caught_up(server: ServerProcess, last: str) -> None:
    """Wait until `server` has followed its log up to the id `last`: a receipt says only that it is kept."""
    deadline = time.monotonic() + 20
    while (await get(server, f"{NAME}?after={last}")).status != 200:
        assert time.monotonic() < deadline, "it never heard of it"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_published_at_one_is_heard_at_the_other(
    nodes: list[ServerProcess], transport: str
) -> None:
    one, two = nodes
    client = await connect(two, transport, "news")
    ids = [(await post(one if n % 2 else two, n))[1]["id"] for n in range(10)]
    heard = await client.take(10)
    assert [message["id"] for message in heard] == ids
    assert [message["data"] for message in heard] == list(range(10))
    # And what was heard at one goes on at the other.
    client.abort()
    again = await connect(one, transport, "news", query={"after": ids[4]})
    assert await again.data(5) == [5, 6, 7, 8, 9]
    again.abort()


async def test_a_cursor_that_one_gave_is_never_from_the_future_at_the_other(
    nodes: list[ServerProcess],
) -> None:
    one, two = nodes
    for n in range(200):
        _, receipt = await post(one, n)
        # At once: the other may not have heard of it yet.
        answer = await get(two, f"{NAME}?after={receipt['id']}")
        body = json.loads(answer.body)
        assert "gap" not in body
        assert body["messages"] == []


async def test_only_a_cursor_that_nobody_gave_is_from_the_future(nodes: list[ServerProcess]) -> None:
    _, receipt = await post(nodes[0], 1)
    epoch = receipt["id"].partition("-")[0]
    body = json.loads((await get(nodes[1], f"{NAME}?after={epoch}-999999")).body)
    assert [gap["reason"] for gap in body["gap"]] == ["ahead"]
    await caught_up(nodes[1], receipt["id"])
    body = json.loads((await get(nodes[1], f"{NAME}?after=0123456789-1")).body)
    assert [gap["reason"] for gap in body["gap"]] == ["epoch"]
    assert [message["data"] for message in body["messages"]] == [1]


async def test_a_key_holds_at_both(nodes: list[ServerProcess]) -> None:
    key = {"Idempotency-Key": "k1"}
    (first, told), (second, again) = [await post(server, 1, **key) for server in nodes]
    assert (first, second) == (201, 200)
    assert told["id"] == again["id"]


async def test_another_life_is_told_to_everyone(nodes: list[ServerProcess], redis: RedisServer) -> None:
    one, two = nodes
    _, first = await post(one, 0)
    for node in nodes:
        await caught_up(node, first["id"])
    clients = [await connect(node, transport, "news") for node in nodes for transport in TRANSPORTS]
    _, before = await post(one, 1)
    for client in clients:
        assert await client.data(1) == [1]
    redis.call("FLUSHALL")
    status, after = await post(two, 2)
    assert status == 201
    assert after["id"].partition("-")[0] != before["id"].partition("-")[0]
    await caught_up(two, after["id"])  # else it would still begin streams in the life before, and end them
    for client in clients:
        cursor = client.cursor
        client.abort()
        back = await connect(two, client.transport, "news", query={"after": cursor})
        assert await back.data(1) == [2]
        assert [gap["reason"] for gap in back.gaps] == ["epoch"]
        back.abort()


async def figures(server: ServerProcess) -> dict[str, float]:
    text = (await get(server, "/metrics")).body.decode()
    lines = [line.split() for line in text.splitlines() if line.startswith("tidings_log")]
    return {name: float(value) for name, value in lines}


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_server_that_hears_nothing_says_so_and_goes_on_by_itself(
    nodes: list[ServerProcess], redis: RedisServer
) -> None:
    server = nodes[0]
    _, first = await post(server, 1)
    await caught_up(server, first["id"])
    link = await Link.open(server.port)
    link.patience = 40
    socket = await Socket.open(link, NAME)
    assert b"ready" in await socket.said()
    stream_link = await Link.open(server.port)
    stream_link.patience = 40
    stream = await Events.open(stream_link, NAME)
    assert (await get(server, "/readyz")).status == 200
    redis.freeze()
    frozen = time.monotonic()
    try:
        status, refusal = await post(server, 2)
        assert (status, refusal["code"], refusal["retry"]) == (503, "log_unavailable", True)
        assert time.monotonic() - frozen < 5, "it is refused within its time limit"
        # What is here is still told, and a known place is known without asking.
        body = json.loads((await get(server, f"{NAME}?after={first['id']}")).body)
        assert body["messages"] == []
        # A place that only the log could know of is not waited for, for ever.
        epoch = first["id"].partition("-")[0]
        assert (await get(server, f"{NAME}?after={epoch}-999999")).status == 503

        deadline = time.monotonic() + 20
        while (await get(server, "/readyz")).status != 503:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        said = json.loads(await socket.said())
        assert said["advice"]["reconnect_within_ms"] > 0
        told: dict[str, str] = {}
        while told.get("event") != "advice":
            told = await stream.block()
        refused = await get(server, NAME, {"Accept": "text/event-stream", "Connection": "close"})
        assert refused.body.startswith(b"retry: ")
        assert (await figures(server))["tidings_log_away_seconds"] > 5
        with pytest.raises(Closed) as closed:
            await _end_of(socket)
        assert closed.value.code == 1013
        while told.get("event") != "end":
            told = await stream.block()
        assert json.loads(told["data"])["code"] == 1013
        assert 18 < time.monotonic() - frozen < 40
    finally:
        redis.thaw()
        link.abort()
        stream_link.abort()
    found: dict[str, float] = {}

    async def heard_again() -> None:
        deadline = time.monotonic() + 20
        while (await get(server, "/readyz")).status != 200:
            assert time.monotonic() < deadline, "it never heard its log again"
            await asyncio.sleep(0.1)
        found.update(await figures(server))

    await heard_again()
    assert found["tidings_log_away_seconds"] == 0
    assert found["tidings_log_lives_total"] == 1, "a log that stood still goes on in its life"
    status, second = await post(server, 3)
    assert status == 201
    await caught_up(nodes[1], second["id"])
    # The publish that was refused may have been kept: nothing else may have been.
    body = json.loads((await get(nodes[1], f"{NAME}?after={first['id']}")).body)
    assert [m["data"] for m in body["messages"]] in ([3], [2, 3])
    assert body["cursor"] == second["id"]


async def test_rubbish_at_the_head_keeps_no_server_from_starting(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as engine:
        with serving("--log", engine.url, "--drain", "0.2") as server:
            _, receipt = await post(server, 1)
        epoch = receipt["id"].partition("-")[0]
        other = await nats.connect(engine.url)
        await other.jetstream().publish(f"tidings.log.{epoch}.rubbish", b"rubbish")
        await other.close()
        with serving("--log", engine.url, "--drain", "0.2") as server:
            assert (await get(server, "/readyz")).status == 200
            answer = await get(server, f"{NAME}?after=earliest")
            assert [m["data"] for m in json.loads(answer.body)["messages"]] == [1]
            # Who comes with a place that only the log could know is told, too.
            body = json.loads((await get(server, f"{NAME}?after={epoch}-2")).body)
            assert body["messages"] == []
            assert "gap" not in body


async def test_a_password_is_never_shown(tmp_path: Path) -> None:
    url = "redis://someone:s3cret-word@127.0.0.1:1/0"
    with pytest.raises(RuntimeError) as failed, serving(env={"TIDINGS_LOG": url}):
        pass
    assert "s3cret-word" not in str(failed.value)
    assert "127.0.0.1:1" in str(failed.value)


async def _end_of(socket: Socket) -> None:
    while True:
        await socket.said()
