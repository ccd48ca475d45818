"""Every limit is there, is passed on, and hurts nobody but who is beyond it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

import raw
from features.publishing import Batches
from features.simulation import Simulation
from kit import ServerProcess, serving
from raw import TEXT, Socket, Stream, Wire, ask, head_of
from story.clients import Client, Publisher, connect
from tidings.core import limits
from tidings.core.errors import CODES

SSE = {"Accept": "text/event-stream"}
MOST = 5


@pytest.fixture(autouse=True)
async def _connections() -> AsyncIterator[None]:
    yield
    await raw.close_all()


# --- connections -----------------------------------------------------------------------------------


async def full(server: ServerProcess) -> list[Client]:
    """Take all connections that `server` gives; all hear one channel."""
    clients = [
        await connect(server, transport, "news") for transport in ("sse", "websocket", "sse", "websocket")
    ]
    clients.append(await connect(server, "polling", "news"))
    assert len(clients) == MOST
    return clients


async def test_one_connection_too_many_is_told_when_to_come_back_and_the_others_notice_nothing() -> None:
    with serving("--connections", str(MOST), "--drain", "0") as server:
        clients = await full(server)
        surplus = await Wire.connect(server)  # one that asks nothing, and stays
        for request in (
            head_of("GET", "/channels/news"),
            head_of("GET", "/channels/news?wait=20"),
            head_of("GET", "/channels/news", raw.HANDSHAKE),
        ):
            answer, closes = await raw.exchange(server, request)
            assert (answer.status, closes) == (503, True)
            assert (answer.json["code"], answer.json["retry"]) == ("too_many_connections", True)
            assert 1 <= int(answer.headers["retry-after"]) <= 5
        # A browser's EventSource would end for good at a 503.
        wire = await Wire.connect(server)
        await wire.send(head_of("GET", "/channels/news", SSE))
        answer = await wire.head()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        [(name, value)] = await Stream(wire).block() or []
        assert name == "retry"
        assert 1_000 <= int(value) <= 5_000
        assert await wire.rest() == b""
        # Who is in hears and asks as before; publishers and operators are not turned away.
        assert (await ask(server, "GET", "/readyz")).status == 200
        ids = await Publisher(server).say("news", "one", "two")
        for client in clients:
            assert [message["id"] for message in await client.take(2)] == ids
        surplus.abort()


async def test_when_one_has_left_the_next_is_welcome() -> None:
    with serving("--connections", str(MOST), "--drain", "0") as server:
        clients = await full(server)
        assert (await ask(server, "GET", "/channels/news")).status == 503
        clients[0].abort()
        # Whoever asks is counted until the server has seen its end: so one that is in looks who is left.
        inside: Wire = clients[-1]._wire  # type: ignore[attr-defined]
        async with asyncio.timeout(raw.PATIENCE):
            while raw.figure(await inside.ask("GET", "/metrics"), "tidings_connections") >= MOST:  # noqa: ASYNC110  the condition is another process's
                await asyncio.sleep(0.01)
        await connect(server, "sse", "news")
        assert (await ask(server, "GET", "/channels/news")).status == 503


async def test_the_moments_to_come_back_are_spread() -> None:
    with serving("--connections", "1", "--drain", "0") as server:
        await connect(server, "sse", "news")
        told = set()
        for _ in range(30):
            wire = await Wire.connect(server)
            await wire.send(head_of("GET", "/channels/news", SSE))
            await wire.head()
            told.add((await Stream(wire).block() or [])[0][1])
            wire.abort()
        assert len(told) > 20


async def test_a_surplus_connection_that_asks_nothing_is_closed() -> None:
    simulation = await Simulation.begun(connections=1)
    stream, surplus = simulation.stream("news"), simulation.connect()
    simulation.pass_time(limits.HEAD_TIMEOUT + limits.CLOSE_GRACE + 1)
    assert surplus.closed_at is not None
    assert stream.is_open()


async def test_what_is_refused_is_counted_by_code_and_said_in_the_log() -> None:
    with serving("--connections", str(MOST), "--drain", "0") as server:
        clients = [await Wire.connect(server) for _ in range(2)]
        told = [
            await clients[0].ask("GET", "/channels/no%20such"),
            await clients[0].ask("GET", "/nothing"),
            await clients[0].ask("POST", "/channels/news", None, b"no JSON"),
        ]
        await raw.exchange(server, b"GET / HTTP/1.1\r\n\r\n")
        socket = await Socket.open(clients[1], "/channels/news")
        assert "ready" in json.loads(await socket.said())
        await socket.command("shout", {})
        told_by_socket = json.loads(await socket.said())["error"]["code"]
        await socket.wire.send(raw.frame(raw.BINARY, b"1"))
        assert await socket.closed() == 1003
        codes = [answer.json["code"] for answer in told]
        assert [*codes, told_by_socket] == ["bad_channel", "not_found", "bad_json", "unknown_command"]
        metrics = (await ask(server, "GET", "/metrics")).body.decode()
        counted = {
            code: float(count)
            for code, count in re.findall(
                r'^tidings_refusals_total\{code="(\w+)"\} (.+)$', metrics, re.MULTILINE
            )
        }
        assert set(counted) == set(CODES), "also those that nobody was told yet"
        # A request without a host, and the binary frame.
        expected = {**dict.fromkeys(codes, 1.0), "unknown_command": 1.0, "bad_request": 2.0}
        assert {code: count for code, count in counted.items() if count} == expected
        said = re.findall(r"refused code=(\w+) peer=127\.0\.0\.1:\d+$", "".join(server.errors), re.MULTILINE)
    assert sorted(said) == sorted([*codes, "unknown_command", "bad_request", "bad_request"])


async def test_what_all_are_told_while_the_server_is_full_is_counted_and_not_said_for_each() -> None:
    with serving("--connections", "1", "--drain", "0") as server:
        await connect(server, "sse", "news")
        for headers in (None, SSE, None):
            wire = await Wire.connect(server)
            await wire.send(head_of("GET", "/channels/news", headers))
            await wire.rest()
        metrics = (await ask(server, "GET", "/metrics")).body.decode()
        assert 'tidings_refusals_total{code="too_many_connections"} 3.0' in metrics
    assert "too_many_connections" not in "".join(server.errors)


async def test_commands_that_were_refused_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMMAND_ERRORS_FORGET", 5.0)
    simulation = await Simulation.begun()
    peer = simulation.web_socket("news")
    for after in (0.0, 5.1, 5.1):
        simulation.pass_time(after)
        for _ in range(limits.COMMAND_ERRORS - 1):
            peer.say(raw.frame(TEXT, b'{"fly":{}}'))
        assert peer.is_open()
        assert b"refused" not in peer.text
    simulation.pass_time(4.9)
    peer.say(raw.frame(TEXT, b'{"fly":{}}'))
    assert b"commands were refused" in peer.text
    await simulation.close()


# --- memory ----------------------------------------------------------------------------------------

NAMES = 100_000
AT_ONCE = 100


async def test_a_hundred_thousand_subscriptions_leave_nothing_behind() -> None:
    with serving(
        "--slow", "chat.*=latest", "--public", "chat.*", "--public-cache", "5", "--drain", "0"
    ) as server:
        socket = await Socket.open(await Wire.connect(server), "/channels/news")
        await socket.said()

        async def round_trip(first: int, last: int, at_once: int) -> None:
            """Subscribe to the channels from `first` to `last`, and leave each again."""
            for start in range(first, last, 50 * at_once):
                commands = []
                for begin in range(start, min(start + 50 * at_once, last), at_once):
                    names = json.dumps([f"chat.{number}" for number in range(begin, begin + at_once)])
                    commands += [f'{{"{word}":{names}}}' for word in ("subscribe", "unsubscribe")]
                frames = [raw.frame(TEXT, command.encode(), mask=bytes(4)) for command in commands]
                await socket.wire.send(b"".join(frames))
                for _ in commands:
                    said = await socket.said()
                    assert said.startswith(b'{"ok":'), said

        await round_trip(0, 20_000, AT_ONCE)  # what a table that is full holds is there before
        await round_trip(20_000, 22_000, 1)
        before = server.memory()
        await round_trip(30_000, 30_000 + NAMES, AT_ONCE)
        await round_trip(200_000, 205_000, 1)
        grown = server.memory() - before
        assert grown < 1024 * 1024, f"{grown} bytes"
        assert await raw.metric(server, "tidings_cohorts") == 1
        assert await raw.metric(server, "tidings_live_subscribers") == 1
        assert await raw.metric(server, "tidings_history_channels") == 0
        # It is as good as new.
        await Publisher(server).say("news", "still here")
        assert json.loads(await socket.said())["message"]["data"] == "still here"


async def test_metrics_name_no_channel_no_key_and_no_client() -> None:
    with serving(
        "--slow", "secret.*=latest", "--public", "secret.*", "--public-cache", "5", "--drain", "0"
    ) as server:
        lines_before = len((await ask(server, "GET", "/metrics")).body.splitlines())
        clients = [
            await connect(server, transport, f"secret.{number}")
            for number in range(20)
            for transport in ("sse", "websocket")
        ]
        await Batches(server).publish(
            [
                {"channel": f"secret.{n}", "data": "secret", "key": "secret", "event": "secret"}
                for n in range(20)
            ]
        )
        for client in clients:
            await client.take(1)
        for number in range(20):
            assert (await ask(server, "GET", f"/channels/secret.{number}?after=earliest")).json["messages"]
        metrics = (await ask(server, "GET", "/metrics")).body
        assert b"secret" not in metrics
        assert b"127.0.0.1" not in metrics
        assert len(metrics.splitlines()) == lines_before, "their number does not grow with what is published"


# --- the history's bounds are passed on ------------------------------------------------------------


async def test_history_count_bounds_a_channel() -> None:
    with serving("--history-count", "7", "--drain", "0") as server:
        ids = await Batches(server).publish([{"channel": "news", "data": n} for n in range(50)])
        answer = (await ask(server, "GET", f"/channels/news?after={ids[0]}")).json
        assert [message["data"] for message in answer["messages"]] == list(range(43, 50))
        assert [gap["reason"] for gap in answer["gap"]] == ["retention"]
        assert answer["gap"][0]["resumed"] == ids[42]


async def test_history_bytes_bound_all_channels_together() -> None:
    bound = 1_000_000
    with serving("--history-bytes", str(bound), "--drain", "0") as server:
        messages = [{"channel": f"c{n % 50}", "data": f"{n}:{'x' * 2_000}"} for n in range(1_000)]
        await Batches(server).publish(messages)
        assert 0 < await raw.metric(server, "tidings_history_bytes") <= bound
        names = ",".join(f"c{n}" for n in range(50))
        held = (await ask(server, "GET", f"/channels/{names}?after=earliest&limit=1000")).json["messages"]
        assert [m["data"] for m in held] == [m["data"] for m in messages[-len(held) :]], (
            "the oldest went first"
        )
        assert len(held) * 2_000 < bound


async def test_history_age_bounds_all_of_it() -> None:
    with serving("--history-age", "0.2", "--drain", "0") as server:
        [first, second] = await Publisher(server).say("news", 1, 2)
        await raw.until_metric(server, "tidings_history_channels", 0)
        answer = (await ask(server, "GET", f"/channels/news?after={first}")).json
        assert answer["messages"] == []
        assert [(gap["after"], gap["resumed"]) for gap in answer["gap"]] == [(first, second)]
