"""How a server stops: no new work, everyone told, nothing lost that was acknowledged (spec §8.2)."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

import raw
from features.publishing import NDJSON, Batches, lines_of
from features.simulation import Simulation
from kit import ServerProcess, serving
from raw import CLOSE, PING, Answer, Socket, Stream, Wire, ask, head_of
from story.clients import connect
from tidings.core import limits

SSE = {"Accept": "text/event-stream"}


@pytest.fixture(autouse=True)
async def _connections() -> AsyncIterator[None]:
    yield
    await raw.close_all()


async def until_it_drains(server: ServerProcess) -> None:
    """Ask `server` to stop, and wait until it takes no connections."""
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(raw.PATIENCE):
        while True:
            try:
                (await Wire.connect(server)).abort()
            except ConnectionError:
                return


async def exit_code(server: ServerProcess) -> int:
    """Drop all connections, and wait until `server` has ended; return its exit code."""
    await raw.close_all()
    return await asyncio.to_thread(server.process.wait, 30)


# --- new work --------------------------------------------------------------------------------------


async def on_any(wires: list[Wire], request: bytes) -> tuple[Answer, Wire]:
    """Send `request` on the first of `wires` that the server has not closed yet."""
    while wires:
        wire = wires.pop()
        try:
            await wire.send(request)
            return await wire.head(), wire
        except (asyncio.IncompleteReadError, ConnectionError):
            continue
    raise AssertionError("all were closed")


async def test_what_is_new_on_a_kept_connection_is_turned_away() -> None:
    with serving("--drain", "60") as server:
        wires = [await Wire.connect(server) for _ in range(300)]
        for wire in wires:
            assert (await wire.ask("GET", "/readyz")).status == 200
        await until_it_drains(server)
        line = lines_of([{"channel": "news", "data": 1}])
        for request in (
            head_of("GET", "/readyz"),
            head_of("GET", "/channels/news", raw.HANDSHAKE),
            head_of("POST", "/channels/news", None, b"1") + b"1",
            head_of("POST", "/publish", NDJSON, line) + line,
        ):
            answer, wire = await on_any(wires, request)
            problem = json.loads(await wire.exactly(int(answer.headers["content-length"])))
            assert (answer.status, problem["code"], problem["retry"]) == (503, "shutting_down", True), request
            assert 1 <= int(answer.headers["retry-after"]) <= 5
            if b"readyz" not in request:
                assert answer.headers["connection"] == "close"
        # Who polls is served until its turn to leave comes.
        answer, _ = await on_any(wires, head_of("GET", "/channels/news"))
        assert answer.status == 200
        # A browser's EventSource would end for good at a 503.
        answer, wire = await on_any(wires, head_of("GET", "/channels/news", SSE))
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        [(name, value)] = await Stream(wire).block() or []
        assert name == "retry"
        assert 1_000 <= int(value) <= 5_000
        assert await wire.rest() == b""
        # It lives until it has stopped; a second signal is not waited with.
        answer, _ = await on_any(wires, head_of("GET", "/livez"))
        assert answer.status == 200
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert "Traceback" not in "".join(server.errors)


async def test_a_websocket_does_not_publish_any_more() -> None:
    with serving("--drain", "60") as server:
        sockets = [await Socket.open(await Wire.connect(server), "/channels/news") for _ in range(100)]
        for socket in sockets:
            await socket.said()
        await until_it_drains(server)
        for socket in sockets:
            try:
                await socket.command("publish", {"channel": "news", "data": 1}, 7)
                said = json.loads(await socket.said())
            except (asyncio.IncompleteReadError, ConnectionError):
                continue  # its turn came long ago
            if "advice" not in said:  # its turn has not come yet
                assert (said["error"]["code"], said["ref"]) == ("shutting_down", 7)
                break
        else:
            raise AssertionError("all were told to go at once")
        server.process.send_signal(signal.SIGTERM)
        assert await exit_code(server) == 0


async def test_a_publish_that_was_on_its_way_is_answered() -> None:
    with serving("--drain", "60") as server:
        wire = await Wire.connect(server)
        await wire.send(head_of("POST", "/channels/news", None, b"[1,2]") + b"[1,")
        await raw.until_metric(server, "tidings_connections", 2)
        await until_it_drains(server)
        await wire.send(b"2]")
        answer = await wire.answer()
        assert (answer.status, answer.json["code"]) == (503, "shutting_down")
        assert await wire.rest() == b""
        assert await exit_code(server) == 0


# --- what was acknowledged -------------------------------------------------------------------------


class Listener:
    """Hears one channel over one transport until the server ends that."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.had: list[int] = []
        self.ended = False

    async def open(self, server: ServerProcess) -> None:
        self._client = await connect(server, self.transport, "news")

    async def listen(self) -> None:
        while not self.ended:
            try:
                await self._client.step()
            except AssertionError as error:
                [other] = error.args  # a close frame, or an answer that is no 200
                assert other.status == 503 if isinstance(other, Answer) else other[0] == CLOSE, other
                self.ended = True
            except (EOFError, asyncio.IncompleteReadError, ConnectionError):
                self.ended = True
        self.had = [message["data"] for message in self._client.messages]
        if self.transport in ("sse", "websocket"):
            assert [item.kind for item in self._client.items[-2:]] == ["advice", "end"]


async def test_everything_acknowledged_is_sent_before_the_connection_is_closed() -> None:
    with serving("--drain", "1") as server:
        listeners = [Listener(transport) for transport in ("long-polling", "sse", "websocket") * 12]
        for listener in listeners:
            await listener.open(server)
        acknowledged: list[int] = []

        async def publish() -> None:
            wire = await Wire.connect(server)
            for number in range(1_000_000):
                try:
                    answer = await wire.ask("POST", "/channels/news", None, b"%d" % number)
                except (asyncio.IncompleteReadError, ConnectionError):
                    return  # between two requests it was idle, and closed
                if answer.status == 503:
                    assert answer.json["code"] == "shutting_down"
                    return
                assert answer.status == 201
                acknowledged.append(number)
                if number == 300:
                    server.process.send_signal(signal.SIGTERM)

        async with asyncio.timeout(30):
            await asyncio.gather(publish(), *(listener.listen() for listener in listeners))
        assert await exit_code(server) == 0
        assert len(acknowledged) >= 300
        for listener in listeners:
            if listener.transport == "long-polling":
                # Its last answer came at some moment of the drain: the rest is asked for elsewhere.
                assert listener.had == acknowledged[: len(listener.had)]
            else:
                assert listener.had == acknowledged
    assert "Traceback" not in "".join(server.errors)


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_reader_that_is_behind_is_given_all_of_it_first(transport: str) -> None:
    # Who cannot go yet when its turn comes, which for one that is alone is at once, is asked again.
    with serving("--drain", "10") as server:
        client = await connect(server, transport, "news", receive_buffer=4096)
        await raw.until_metric(server, "tidings_live_subscribers", 1)
        messages = [{"channel": "news", "data": f"{n}:{'x' * 1_000}"} for n in range(900)]
        publisher = Batches(server)
        await publisher.publish(messages)
        assert await raw.metric(server, "tidings_live_subscribers") == 0
        publisher.abort()
        await raw.until_metric(server, "tidings_connections", 2)  # with the one that asks
        await until_it_drains(server)
        assert await client.data(900) == [message["data"] for message in messages]
        await client.step()
        await client.step()
        assert [item.kind for item in client.items[-2:]] == ["advice", "end"]
        assert '"code": 4005' in json.dumps(client.items[-1].value)
        assert await exit_code(server) == 0


# --- when ------------------------------------------------------------------------------------------


async def last_word(socket: Socket) -> float:
    """Read to the close frame; return when it came."""
    while True:
        opcode, _ = await socket.frame()
        if opcode == CLOSE:
            ended = time.monotonic()
            socket.wire.abort()
            return ended
        assert opcode != PING


async def test_the_closes_do_not_all_come_at_once() -> None:
    """To the step: on the simulated clock below. Who is held up here sees them later, and never earlier."""
    window, clients = 2.0, 400
    with serving("--drain", f"{window:g}") as server:
        sockets = [await Socket.open(await Wire.connect(server), "/channels/news") for _ in range(clients)]
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        ended = [at - begun for at in await asyncio.gather(*[last_word(socket) for socket in sockets])]
        assert await exit_code(server) == 0
    for part in (0.25, 0.5, 0.75):
        assert sum(at < part * window for at in ended) <= (part + 0.1) * clients


async def test_it_does_not_wait_for_the_window_when_nobody_is_left() -> None:
    with serving("--drain", "60") as server:
        client = await connect(server, "websocket", "news")
        client.abort()
        await raw.until_metric(server, "tidings_live_subscribers", 0)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert await exit_code(server) == 0
        assert time.monotonic() - begun < 30


async def test_parked_polls_are_answered_and_asked_again_elsewhere() -> None:
    with serving("--drain", "0.3") as server:
        cursor = (await ask(server, "GET", "/channels/news")).json["cursor"]
        wires = [await Wire.connect(server) for _ in range(50)]
        for wire in wires:
            await wire.send(head_of("GET", f"/channels/news?after={cursor}&wait=50"))
        await raw.until_metric(server, "tidings_live_subscribers", 50)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for wire in wires:
            answer = await wire.answer()
            assert answer.status == 200
            assert answer.json == {"messages": [], "cursor": cursor}
            assert answer.headers["connection"] == "close"
        assert time.monotonic() - begun < 30
        assert await exit_code(server) == 0


# --- on a simulated clock --------------------------------------------------------------------------


async def stop(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object] = lambda: None
) -> None:
    """Let a simulated server stop. Each step takes just the time that it waits; then `then` is called."""

    async def set_within(event: asyncio.Event, seconds: float) -> bool:
        simulation.pass_time(seconds)
        then()
        return event.is_set()

    monkeypatch.setattr("tidings.server.app._set_within", set_within)
    await simulation.app._stop(asyncio.Event())
    await simulation.close()


@pytest.mark.parametrize("clients", [1, 12, 400])
@pytest.mark.parametrize("kind", ["stream", "web_socket"])
async def test_the_closes_are_spread_over_the_drain_window(
    monkeypatch: pytest.MonkeyPatch, clients: int, kind: str
) -> None:
    window, slots = 2.0, 4
    simulation = await Simulation.begun(drain=window)
    peers = [getattr(simulation, kind)("news") for _ in range(clients)]
    begun = simulation.now
    await stop(simulation, monkeypatch)
    ended = []
    for peer in peers:
        [at] = peer.times_of(b'"code":4005')
        ended.append(at - begun)
    assert max(ended) <= window
    fullest = max(sum(slot <= at * slots / window < slot + 1 for at in ended) for slot in range(slots))
    assert fullest <= 1.2 * clients / slots + 1


@pytest.mark.parametrize("window", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["stream", "web_socket"])
async def test_who_is_behind_is_waited_for_and_given_all_of_it_first(
    monkeypatch: pytest.MonkeyPatch, kind: str, window: float
) -> None:
    simulation = await Simulation.begun(drain=window)
    reader, stuck = getattr(simulation, kind)("news"), getattr(simulation, kind)("news")
    for peer in (reader, stuck):
        peer.stall()
    for number in range(50):
        await simulation.publish("news", b"%d" % number)
    begun = simulation.now
    late = begun + window + limits.CLOSE_GRACE - 0.5
    await stop(simulation, monkeypatch, lambda: simulation.now > late and reader.read_on())
    assert [at - begun > window + 1 for at in reader.times_of(b'"code":4005')] == [True]
    assert reader.text.count(b',"data":') == 50
    assert reader.text.rindex(b',"data":49}') < reader.text.index(b'"code":4005')
    # Who takes nothing is not waited for any longer.
    assert stuck.closed_at is not None
    assert stuck.closed_at - begun <= window + limits.CLOSE_GRACE + limits.DRAIN_STEP
