"""Several processes are one server: any of them serves any request, and one that dies is no event."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import raw
from kit import ServerProcess, serving
from ports import free_port
from raw import Answer, Wire, ask, head_of
from server import crew
from story.clients import TRANSPORTS, Client, connect, position
from tidings.core import limits
from tidings.server.worker import _FIRST_REQUEST


@pytest.fixture(scope="module")
def two() -> Iterator[ServerProcess]:
    """A server with two workers, for tests that kill none."""
    with serving("--workers", "2", "--drain", "0.2") as server:
        yield server
        assert "Traceback" not in "".join(server.errors)


async def post(wire: Wire, channel: str, data: object, **headers: str) -> Any:
    fields = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await wire.ask("POST", f"/channels/{channel}", fields, json.dumps(data).encode())


async def spread(server: ServerProcess, channel: str, **query: str) -> list[Client]:
    """Connect over each transport at each worker."""
    return [
        await crew.at(server, pid, partial(connect, server, transport, channel, query=query))
        for transport in TRANSPORTS
        for pid in crew.workers(server)
    ]


async def test_what_is_published_at_one_worker_is_heard_at_all_in_one_order(
    two: ServerProcess, channel: str
) -> None:
    assert len(crew.workers(two)) == 2
    clients = await spread(two, channel)
    publishers = [await crew.at(two, pid, lambda: Wire.connect(two)) for pid in crew.workers(two)]

    async def publish(wire: Wire, name: str) -> list[str]:
        return [(await post(wire, channel, f"{name}{n}")).json["id"] for n in range(50)]

    ids = await asyncio.gather(*(publish(wire, str(n)) for n, wire in enumerate(publishers)))
    heard = [await client.take(100) for client in clients]
    assert all(messages == heard[0] for messages in heard)
    told = [message["id"] for message in heard[0]]
    assert told == sorted(told, key=position)
    assert sorted(told) == sorted(ids[0] + ids[1])
    for name in "01":
        own = [m["data"] for m in heard[0] if m["data"].startswith(name)]
        assert own == [f"{name}{n}" for n in range(50)]
    assert all(client.gaps == [] for client in clients)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_of_one_worker_is_good_at_another(
    two: ServerProcess, channel: str, transport: str
) -> None:
    one, other = crew.workers(two)
    publisher = await Wire.connect(two)
    client = await crew.at(two, one, lambda: connect(two, transport, channel))
    await post(publisher, channel, 1)
    assert await client.data(1) == [1]
    cursor = client.cursor
    client.abort()
    await post(publisher, channel, 2)
    again = await crew.at(two, other, lambda: connect(two, transport, channel, cursor=cursor))
    await post(publisher, channel, 3)
    assert await again.data(2) == [2, 3]
    assert again.gaps == []


async def test_an_idempotency_key_holds_at_all_workers(two: ServerProcess, channel: str) -> None:
    wires = [await crew.at(two, pid, lambda: Wire.connect(two)) for pid in crew.workers(two)]
    answers = await asyncio.gather(
        *(post(wire, channel, n, Idempotency_Key="k") for n, wire in enumerate(wires))
    )
    assert sorted(answer.status for answer in answers) == [200, 201]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert [answer.json.get("duplicate", False) for answer in answers if answer.status == 200] == [True]


async def test_pipelined_publishes_are_all_answered_in_order(two: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(two)
    one = [
        head_of("POST", f"/channels/{channel}", body=b"%04d" % (n + 1000)) + b"%04d" % (n + 1000)
        for n in range(100)
    ]
    await wire.send(b"".join(one))
    ids = [(await wire.answer()).json["id"] for _ in one]
    assert ids == sorted(ids, key=position)
    assert len(set(ids)) == 100


async def test_metrics_on_any_worker_answer_for_all_and_are_exact(two: ServerProcess, channel: str) -> None:
    wires = [await crew.at(two, pid, lambda: Wire.connect(two)) for pid in crew.workers(two)]

    async def figure(wire: Wire, name: str) -> float:
        """Return what all say: of a worker that answers too late its last report is taken, so ask again."""
        took = limits.WORKER_ANSWER
        while took >= limits.WORKER_ANSWER:
            began = time.monotonic()
            text = (await wire.ask("GET", "/metrics")).body.decode()
            took = time.monotonic() - began
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])

    before = await figure(wires[0], "tidings_published_total")
    for n, wire in enumerate(wires * 5):
        assert (await post(wire, channel, n)).status == 201
        for asked in wires:
            assert await figure(asked, "tidings_published_total") == before + n + 1
    assert await figure(wires[0], "tidings_workers") == 2
    assert await figure(wires[0], "tidings_connections") == await figure(wires[1], "tidings_connections") >= 2
    # Many at once, pipelined, share the asking.
    await wires[0].send(head_of("GET", "/metrics") * 20)
    assert {(await wires[0].answer()).status for _ in range(20)} == {200}


def test_a_port_that_another_server_has_is_not_shared_with_it(two: ServerProcess) -> None:
    """Sockets that may share a port would else share it with another server's, in silence."""
    result = subprocess.run(
        [sys.executable, "-m", "tidings", "serve", "--workers", "2", "--port", str(two.port)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 2
    assert str(two.port) in result.stderr


def test_settings_are_not_in_any_command_line(two: ServerProcess) -> None:
    for pid in crew.workers(two):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert words[-2].isdigit()
        assert b"127.0.0.1" not in b" ".join(words)


async def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost() -> None:
    with serving("--workers", "2", "--drain", "0.2") as server:
        victim, other = crew.workers(server)
        publisher = await crew.at(server, other, lambda: Wire.connect(server))
        clients = [await crew.at(server, victim, partial(connect, server, t, "news")) for t in TRANSPORTS]
        bystander = await crew.at(server, other, lambda: connect(server, "websocket", "news"))
        counted = await raw.metric(server, "tidings_requests_total")
        await post(publisher, "news", 0)
        for client in clients:
            assert await client.data(1) == [0]
        assert await bystander.data(1) == [0]
        await crew.until("all five are counted", partial(_delivered, server, 5))
        delivered = await raw.metric(server, "tidings_delivered_total")

        os.kill(victim, signal.SIGKILL)
        # From this moment on every connection is taken: those for the dead worker wait for the next one.
        answers = asyncio.gather(*(ask(server, "GET", "/livez") for _ in range(40)))
        for n in range(1, 21):
            assert (await post(publisher, "news", n)).status == 201
        assert {answer.status for answer in await answers} == {200}
        await crew.until("the worker was replaced", lambda: len(crew.workers(server)) == 2)
        assert victim not in crew.workers(server)
        assert await bystander.data(20) == list(range(1, 21))

        (replacement,) = set(crew.workers(server)) - {other}
        for client in clients:
            again = await crew.at(
                server, replacement, partial(connect, server, client.transport, "news", cursor=client.cursor)
            )
            assert await again.data(20) == list(range(1, 21))
            assert again.gaps == []
        assert await raw.metric(server, "tidings_delivered_total") >= delivered
        assert await raw.metric(server, "tidings_requests_total") > counted
        await raw.close_all()
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)


async def _delivered(server: ServerProcess, count: int) -> bool:
    return await raw.metric(server, "tidings_delivered_total") >= count


async def test_workers_end_when_their_parent_is_killed() -> None:
    with serving("--workers", "2", "--drain", "0.3") as server:
        pids = crew.workers(server)
        client = await connect(server, "websocket", "news")
        server.process.kill()
        with contextlib.suppress(asyncio.IncompleteReadError, AssertionError, ConnectionError):
            while True:
                await client.step()
        await crew.until("the workers ended", lambda: not any(map(crew.is_alive, pids)))


async def test_sigterm_delivers_what_was_acknowledged_wherever_it_was_taken() -> None:
    with serving("--workers", "2", "--drain", "0.3") as server:
        pids = crew.workers(server)
        clients = await spread(server, "news")
        publishers = [await crew.at(server, pid, lambda: Wire.connect(server)) for pid in pids * 4]
        acknowledged: list[str] = []
        refused = asyncio.Event()

        async def publish(wire: Wire) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while (answer := await post(wire, "news", "x")).status == 201:
                    acknowledged.append(answer.json["id"])
            refused.set()

        heard: list[set[str]] = []

        async def listen(client: Client) -> None:
            with contextlib.suppress(ConnectionError, EOFError, asyncio.IncompleteReadError, AssertionError):
                while True:
                    await client.step()
            heard.append({message["id"] for message in client.messages})

        work = [asyncio.ensure_future(publish(wire)) for wire in publishers]
        # Streams: a poll ends with an answer, and asks another server for the rest.
        streams = [c for c in clients if c.transport in ("sse", "websocket")]
        listening = [asyncio.ensure_future(listen(client)) for client in streams]
        await crew.until("messages flow", lambda: len(acknowledged) > 100)
        server.process.send_signal(signal.SIGTERM)
        await refused.wait()
        await asyncio.gather(*work, *listening)
        await raw.close_all()
        assert server.stop() == 0
        assert len(heard) == 4
        for ids in heard:
            assert set(acknowledged) <= ids
        assert not any(map(crew.is_alive, pids))
    assert "Traceback" not in "".join(server.errors)


async def test_a_ctrl_c_of_the_terminal_is_one_signal_and_not_two() -> None:
    """It goes to every process of the group: the workers leave it to their parent."""
    with serving("--workers", "2", "--drain", "0.5") as server:
        client = await connect(server, "websocket", "news")
        pids = crew.workers(server)
        for pid in (*pids, server.pid):
            os.kill(pid, signal.SIGINT)
        while not any(item.kind == "end" for item in client.items):
            await client.step()
        client.abort()
        assert server.stop() == 0
        assert not any(map(crew.is_alive, pids))
    assert "Traceback" not in "".join(server.errors)


async def test_a_second_signal_stops_all_workers_at_once() -> None:
    with serving("--workers", "2", "--drain", "60") as server:
        clients = [await connect(server, "websocket", "news") for _ in range(40)]
        server.process.send_signal(signal.SIGTERM)
        # The first to be told shows that they drain; the others would wait up to a minute.
        told = [asyncio.ensure_future(client.step()) for client in clients]
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 15) == 0
        await asyncio.gather(*told, return_exceptions=True)
    assert "Traceback" not in "".join(server.errors)


async def test_a_stopped_worker_does_not_make_the_parent_grow_nor_disturb_others() -> None:
    with serving("--workers", "2", "--drain", "0.2", "--history-count", "20") as server:
        stopped, other = crew.workers(server)
        publisher = await crew.at(server, other, lambda: Wire.connect(server))
        behind = await crew.at(server, stopped, lambda: connect(server, "websocket", "news"))
        listener = await crew.at(server, other, lambda: connect(server, "websocket", "news"))
        await post(publisher, "news", 0)
        assert await behind.data(1) == await listener.data(1) == [0]
        # What the history and the allocator take is taken before it is measured.
        body = b'"%b"' % (b"x" * 60_000)
        for _ in range(100):
            assert (await publisher.ask("POST", "/channels/warm", None, body)).status == 201
        before = crew.memory(server.pid)
        os.kill(stopped, signal.SIGSTOP)
        try:
            for _ in range(1_000):
                assert (await publisher.ask("POST", "/channels/big", None, body)).status == 201
            await post(publisher, "news", 1)
            assert await listener.data(1) == [1]
            grown = crew.memory(server.pid) - before
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert grown < 20 * 1024 * 1024, f"{grown >> 20} MiB of 57 that passed"
        # It catches up, and tells what it missed or that it missed it.
        await post(publisher, "news", 2)
        while not (behind.messages and behind.messages[-1]["data"] == 2):
            await behind.step()
        seen = [message["data"] for message in behind.messages]
        assert seen == [0, 1, 2] or behind.gaps
        await raw.close_all()
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)


async def _post_soon(server: ServerProcess, body: bytes) -> Answer | None:
    """Publish over a new connection; None where we were so late behind connecting that it was closed.

    A worker that leaves waits for the first request of whoever has just connected, but not for ever.
    """
    began = time.monotonic()
    wire, asked = await Wire.connect(server), 0.0
    try:
        await wire.send(head_of("POST", "/channels/news", None, body) + body)
        asked = time.monotonic()
        return await wire.answer()
    except (ConnectionError, asyncio.IncompleteReadError):
        assert (asked or time.monotonic()) - began >= _FIRST_REQUEST, "it was asked at once, and said nothing"
        return None
    finally:
        wire.abort()


async def test_a_rolling_restart_replaces_every_worker_and_refuses_nobody() -> None:
    with serving("--workers", "2", "--drain", "0.2", "--history-count", "1000000") as server:
        before = crew.workers(server)
        publisher, ids = await Wire.connect(server), []
        cursor = (await publisher.ask("GET", "/channels/news")).json["cursor"]
        server.process.send_signal(signal.SIGHUP)

        def rolled() -> bool:
            return not set(before) & set(crew.workers(server)) and len(crew.workers(server)) == 2

        n = 0
        while not rolled():
            n += 1
            answer = await _post_soon(server, b"%d" % n)
            assert answer is None or answer.status == 201 or answer.json["code"] == "shutting_down"
            if answer is not None and answer.status == 201:
                ids.append(answer.json["id"])
        read = await connect(server, "polling", "news", cursor=cursor)
        while len(read.messages) < len(ids):
            await read.step()
        assert [message["id"] for message in read.messages] == ids
        assert read.gaps == []
        await raw.close_all()
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)


async def test_a_worker_that_is_asked_to_end_is_replaced_first() -> None:
    with serving("--workers", "2", "--drain", "0.2") as server:
        asked, other = crew.workers(server)
        os.kill(asked, signal.SIGTERM)
        await crew.until(
            "it was replaced",
            lambda: asked not in crew.workers(server) and len(crew.workers(server)) == 2,
        )
        assert other in crew.workers(server)
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)


async def test_all_workers_take_connections_from_the_same_moment_on() -> None:
    """Were one to begin before the others, all who wait for a restarted server would be its clients."""
    port = free_port()
    flags = ("--workers", "2", "--port", str(port), "--drain", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tidings", "serve", *flags, stderr=subprocess.PIPE
    )
    server: Any = SimpleNamespace(
        pid=process.pid, host="127.0.0.1", port=port, url=f"http://127.0.0.1:{port}"
    )
    try:
        await crew.until("one is there", lambda: crew.workers(server))
        (slow,) = crew.workers(server)[:1]
        os.kill(slow, signal.SIGSTOP)
        await crew.until("two are there", lambda: len(crew.workers(server)) == 2)
        (other,) = set(crew.workers(server)) - {slow}
        await crew.rests(other)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        os.kill(slow, signal.SIGCONT)
        assert process.stderr is not None
        assert b"listening on" in await process.stderr.readline()
        wires = [await Wire.connect(server) for _ in range(100)]
        served = Counter([await crew.worker_of(server, wire) for wire in wires])
        assert min(served[slow], served[other]) > 20
    finally:
        await raw.close_all()
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_every_worker_says_when_the_log_in_the_parent_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with serving("--workers", "2", "--log", f"sqlite:///{path}", "--drain", "0") as server:
        wires = [await crew.at(server, pid, lambda: Wire.connect(server)) for pid in crew.workers(server)]

        async def all_say(status: int) -> bool:
            said = [await wire.ask("GET", "/readyz") for wire in wires]
            return all(answer.status == status for answer in said)

        assert (await post(wires[0], "news", 1)).status == 201
        assert await all_say(200)
        # Written to what is no more at its place, a message would be found by nobody.
        away = path.rename(tmp_path / "away.db")
        path.write_bytes(b"")
        for wire in wires:
            await crew.until("it refuses", partial(_answers, wire, 503))
        await crew.until("both say so", partial(all_say, 503))
        said = (await wires[0].ask("GET", "/readyz")).json
        assert said["code"] == "log_unavailable"
        assert "removed or replaced" in said["detail"]
        away.rename(path)
        await crew.until("both are ready, though nobody publishes", partial(all_say, 200))
        assert (await post(wires[1], "news", 2)).status == 201
    assert "Traceback" not in "".join(server.errors)


async def _answers(wire: Wire, status: int) -> bool:
    return bool((await post(wire, "news", 0)).status == status)


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one", "two"])
async def test_a_unix_socket_is_shared_by_all_workers(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = tmp_path / "tidings.sock"
    with serving("--uds", str(path), "--drain", "0.2", *flags) as server:
        assert server.url == f"unix:{path}"
        wires = [await Wire.connect(server) for _ in range(20)]
        for n, wire in enumerate(wires):
            assert (await post(wire, "news", n)).status == 201
        client = await connect(server, "websocket", "news", query={"after": "earliest"})
        assert await client.data(20) == list(range(20))
        await raw.close_all()
        assert server.stop() == 0
        assert not path.exists()
    assert "Traceback" not in "".join(server.errors)


def _gone(server: ServerProcess, pid: int) -> bool:
    return pid not in crew.workers(server)


async def test_nothing_is_left_behind_and_descriptors_do_not_leak() -> None:
    with serving("--workers", "2", "--drain", "0.1") as server:
        await ask(server, "GET", "/metrics")
        before = crew.descriptors(server.pid)
        for _ in range(3):
            victim = crew.workers(server)[0]
            os.kill(victim, signal.SIGKILL)
            await crew.until("it was replaced", partial(_gone, server, victim))
            await crew.until("there are two", lambda: len(crew.workers(server)) == 2)
        await crew.until("descriptors are back", lambda: crew.descriptors(server.pid) == before)
        pids = crew.workers(server)
        assert server.stop() == 0
        assert not any(map(crew.is_alive, pids))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port), timeout=5)


async def test_connections_are_counted_for_all_workers_together() -> None:
    with serving("--workers", "2", "--connections", "10", "--drain", "0") as server:
        statuses = []
        for _ in range(14):
            wire = await Wire.connect(server)
            statuses.append((await wire.ask("GET", "/channels/news")).status)
        # Each takes its five; the kernel spreads evenly, but not exactly so.
        assert 5 <= statuses.count(200) <= 10
        assert set(statuses) == {200, 503}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--workers", "0"), "--workers"),
        (("--workers", "1000"), "--workers"),
        (("--workers", "4", "--connections", "2"), "--connections"),
        (("--workers", "2", "--log", "carrier-pigeon://loft"), "no log of the kind"),
    ],
)
def test_what_cannot_be_meant_stops_it_with_a_sentence(flags: tuple[str, ...], said: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tidings", "serve", "--port", "0", *flags],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_signal_while_the_workers_start_ends_them_all() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tidings", "serve", "--workers", "3", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    pids: list[int] = []
    while len(pids) < 1 and process.poll() is None:
        for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
            pids += [int(child) for child in task.read_text().split()]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert not any(map(crew.is_alive, pids))
