"""Readers that are behind: `resume`, `latest` and `close` (spec §5.6)."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import raw
from features.publishing import Batches
from features.simulation import Simulation
from kit import ServerProcess, serving
from raw import CLOSE, Wire, head_of
from story.clients import Client, WebSocket, connect, position
from tidings.core.patterns import SlowPolicy

KEYS = 100
KEPT = 600  # messages a channel
PAD = "x" * 1_000
AT_ONCE = 25  # a burst that the kernel takes for everyone who reads


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server with a rule for each policy."""
    with serving(
        *("--slow", "prices.*=latest"),
        *("--slow", "alerts.**=close"),
        *("--history-count", str(KEPT)),
        *("--drain", "0.2"),
    ) as running:
        yield running


@pytest.fixture
async def publisher(server: ServerProcess) -> Batches:
    await raw.until_metric(server, "tidings_live_subscribers", 0)  # those of the test before are gone
    return Batches(server)


class Prices:
    """Prices of KEYS things on one channel, each new price with the next number."""

    def __init__(self, channel: str, publisher: Batches) -> None:
        self.channel = channel
        self._publisher = publisher
        self.ids: list[str] = []

    async def publish(self, count: int, *, pad: str = PAD) -> list[str]:
        """Publish the next `count`."""
        first = len(self.ids)
        ids = await self._publisher.publish(
            [
                {"channel": self.channel, "key": f"k{n % KEYS}", "data": {"n": n, "pad": pad}}
                for n in range(first, first + count)
            ],
            at_once=AT_ONCE,
        )
        self.ids += ids
        return ids

    def newest(self, since: int) -> list[int]:
        """Return the newest number of each key, of those from `since` on, in order."""
        last = {n % KEYS: n for n in range(since, len(self.ids))}
        return sorted(last.values())


def numbers(client: Client) -> list[int]:
    """Return the numbers that `client` has had."""
    return [message["data"]["n"] for message in client.messages]


async def read_to(client: Client, number: int) -> None:
    """Let `client` read until it has had `number`."""
    async with asyncio.timeout(raw.PATIENCE):
        while number not in numbers(client)[-1:]:
            await client.step()


async def stalled(server: ServerProcess, transport: str, channel: str, prices: Prices) -> Client:
    """Return a client that does not read, and that the server has noticed does not."""
    live = await raw.metric(server, "tidings_live_subscribers")
    client = await connect(server, transport, channel, receive_buffer=4096)
    await raw.until_metric(server, "tidings_live_subscribers", live + 1)
    async with asyncio.timeout(raw.PATIENCE):
        while await raw.metric(server, "tidings_live_subscribers") != live:
            await prices.publish(AT_ONCE)
    return client


@asynccontextmanager
async def reading(server: ServerProcess, *transports: str, channel: str) -> AsyncIterator[list[Client]]:
    """Yield clients that read all the time."""

    async def read(client: Client) -> None:
        while True:
            await client.step()

    clients = [await connect(server, transport, channel) for transport in transports]
    tasks = [asyncio.create_task(read(client)) for client in clients]
    try:
        yield clients
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()


async def until_all_had(clients: list[Client], number: int) -> None:
    """Wait until each of `clients`, which read by themselves, has had `number`."""
    async with asyncio.timeout(raw.PATIENCE):
        while not all(number in numbers(client)[-1:] for client in clients):  # noqa: ASYNC110  of all
            await asyncio.sleep(0.01)


STREAMS = pytest.mark.parametrize("transport", ["sse", "websocket"])


# --- latest ----------------------------------------------------------------------------------------


@STREAMS
async def test_a_stalled_reader_gets_the_newest_of_each_key_and_then_everything(
    server: ServerProcess, publisher: Batches, channel: str, transport: str
) -> None:
    prices = Prices(f"prices.{channel}", publisher)
    async with reading(server, "sse", "websocket", channel=prices.channel) as others:
        client = await stalled(server, transport, prices.channel, prices)
        await prices.publish(250)
        last = len(prices.ids) - 1
        await until_all_had(others, last)
    # Who was not behind heard everything.
    for other in others:
        assert numbers(other) == list(range(last + 1))

    await read_to(client, last)

    # What was on its way when it stopped, whole; then of all it missed the newest for each key, once.
    had = numbers(client)
    whole = next(at for at, number in enumerate(had) if number != at)
    assert 0 < whole <= last - 249
    assert had[whole:] == prices.newest(whole)
    assert len(had[whole:]) == KEYS
    assert [message["id"] for message in client.messages] == [prices.ids[n] for n in had]
    assert client.gaps == [], "what a policy leaves out is not lost"
    # From here on it is live: it hears every price.
    await raw.until_metric(server, "tidings_live_subscribers", 3)
    await prices.publish(300, pad="")
    await read_to(client, last + 300)
    assert numbers(client)[-301:] == list(range(last, last + 301))


@STREAMS
async def test_what_is_no_longer_kept_is_a_gap_under_latest_too(
    server: ServerProcess, publisher: Batches, channel: str, transport: str
) -> None:
    prices = Prices(f"prices.{channel}", publisher)
    client = await stalled(server, transport, prices.channel, prices)
    await prices.publish(KEPT + 300)
    last = len(prices.ids) - 1

    await read_to(client, last)

    [gap] = client.gaps
    assert gap["reason"] == "retention"
    assert position(gap["resumed"]) == position(prices.ids[-KEPT]) - 1
    at = next(at for at, item in enumerate(client.items) if item.kind == "gap")
    before, behind = numbers(client)[:at], numbers(client)[at:]
    assert before == list(range(len(before)))
    assert gap["after"] == prices.ids[before[-1]]
    assert behind == prices.newest(last + 1 - KEPT)


async def test_polls_get_the_newest_of_each_key_of_what_they_missed(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    prices = Prices(f"prices.{channel}", publisher)
    [before, *_] = await prices.publish(10)
    await prices.publish(400, pad="")
    for wait in ("", "&wait=10"):
        answer = (await raw.ask(server, "GET", f"/channels/{prices.channel}?after={before}{wait}")).json
        assert [message["data"]["n"] for message in answer["messages"]] == prices.newest(1)
        assert answer["cursor"] == prices.ids[-1]
        assert not {"gap", "more"} & set(answer)


async def test_a_limit_cuts_the_newest_and_the_next_answer_has_the_rest(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    prices = Prices(f"prices.{channel}", publisher)
    await prices.publish(500, pad="")
    cursor, had, answers = prices.ids[0], [], 0
    while True:
        target = f"/channels/{prices.channel}?after={cursor}&limit=7"
        answer = (await raw.ask(server, "GET", target)).json
        had += [message["data"]["n"] for message in answer["messages"]]
        cursor = answer["cursor"]
        answers += 1
        if not answer.get("more"):
            break
    assert had == prices.newest(1)
    assert answers == -(-KEYS // 7)


async def test_a_price_that_changes_while_one_catches_up_is_told_anew(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    name = f"prices.{channel}"
    messages = [{"channel": name, "key": key, "data": key + "1"} for key in "abc"]
    ids = await publisher.publish([{"channel": name, "data": 0}, *messages])
    first = (await raw.ask(server, "GET", f"/channels/{name}?after={ids[0]}&limit=2")).json
    assert [m["data"] for m in first["messages"]] == ["a1", "b1"]
    await publisher.publish([{"channel": name, "key": key, "data": key + "2"} for key in "ca"])
    second = (await raw.ask(server, "GET", f"/channels/{name}?after={first['cursor']}")).json
    assert [m["data"] for m in second["messages"]] == ["c2", "a2"]


async def test_messages_without_a_key_are_one_key(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    name = f"prices.{channel}"
    keys = [None, "a", None, "b", "a", None, "c"]
    ids = await publisher.publish(
        [{"channel": name, "data": n} | ({"key": key} if key else {}) for n, key in enumerate(keys)]
    )
    answer = (await raw.ask(server, "GET", f"/channels/{name}?after={ids[0].partition('-')[0]}-0")).json
    assert [m["data"] for m in answer["messages"]] == [3, 4, 5, 6]
    assert [m.get("key") for m in answer["messages"]] == ["b", "a", None, "c"]


@pytest.mark.parametrize("query", ["after=earliest", "rewind=500", "rewind=60s"])
async def test_all_that_is_read_from_the_history_is_the_newest_of_each_key(
    server: ServerProcess, publisher: Batches, channel: str, query: str
) -> None:
    prices = Prices(f"prices.{channel}", publisher)
    await prices.publish(500, pad="")
    answer = (await raw.ask(server, "GET", f"/channels/{prices.channel}?{query}&limit=1000")).json
    assert [message["data"]["n"] for message in answer["messages"]] == prices.newest(0)
    field, _, value = query.partition("=")
    for transport in ("sse", "websocket"):
        client = await connect(server, transport, prices.channel, query={field: value})
        await read_to(client, 499)
        assert numbers(client) == prices.newest(0)
    # And so is what a connection adds later.
    socket = await connect(server, "websocket", channel)
    assert isinstance(socket, WebSocket)
    start: dict[str, Any] = {field: int(value) if value.isdigit() else value}
    await socket.subscribe(prices.channel, **start)
    await read_to(socket, 499)
    assert numbers(socket) == prices.newest(0)


async def test_of_several_channels_each_goes_by_its_own_policy(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    latest, all_of_it = f"prices.{channel}", f"news.{channel}"
    ids = await publisher.publish(
        [{"channel": one, "key": f"k{n % 3}", "data": n} for n in range(30) for one in (latest, all_of_it)]
    )
    after = ids[0].partition("-")[0] + "-0"
    target = f"/channels/{all_of_it},{latest}?after={after}"
    messages = (await raw.ask(server, "GET", target)).json["messages"]
    assert [m["data"] for m in messages if m["channel"] == all_of_it] == list(range(30))
    assert [m["data"] for m in messages if m["channel"] == latest] == [27, 28, 29]
    places = [position(m["id"]) for m in messages]
    assert places == sorted(places)


async def test_a_parked_poll_hears_every_message_of_its_moment(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    name = f"prices.{channel}"
    live = await raw.metric(server, "tidings_live_subscribers")
    wire = await Wire.connect(server)
    await wire.send(head_of("GET", f"/channels/{name}?wait=20"))
    await raw.until_metric(server, "tidings_live_subscribers", live + 1)
    await publisher.publish([{"channel": name, "key": "k", "data": n} for n in range(5)])
    assert [m["data"] for m in (await wire.answer()).json["messages"]] == [0, 1, 2, 3, 4]


# --- resume ----------------------------------------------------------------------------------------


@STREAMS
async def test_without_a_rule_a_stalled_reader_gets_all_it_missed(
    server: ServerProcess, publisher: Batches, channel: str, transport: str
) -> None:
    # A pattern's `*` is one segment: this channel has no rule.
    prices = Prices(f"prices.a.{channel}", publisher)
    client = await stalled(server, transport, prices.channel, prices)
    await prices.publish(200)
    last = len(prices.ids) - 1
    await read_to(client, last)
    assert numbers(client) == list(range(last + 1))
    assert client.gaps == []


# --- close -----------------------------------------------------------------------------------------


async def ends(client: Client) -> list[dict[str, Any]]:
    """Read `client` to its end; return what it was told of it: `end` on a stream, or the close code."""
    async with asyncio.timeout(raw.PATIENCE):
        while True:
            try:
                await client.step()
            except EOFError:
                return [item.value for item in client.items if item.kind == "end"]
            except AssertionError as error:
                (opcode, payload) = error.args[0]
                assert opcode == CLOSE
                return [{"code": int.from_bytes(payload[:2], "big"), "reason": payload[2:].decode()}]


@STREAMS
async def test_a_stalled_reader_is_closed_and_the_others_do_not_notice(
    server: ServerProcess, publisher: Batches, channel: str, transport: str
) -> None:
    prices = Prices(f"alerts.{channel}.high", publisher)
    async with reading(server, "sse", "websocket", channel=prices.channel) as others:
        await prices.publish(1)
        connections = await raw.metric(server, "tidings_connections")
        client = await stalled(server, transport, prices.channel, prices)
        await prices.publish(100)
        [end] = await ends(client)
        client.abort()
        await raw.until_metric(server, "tidings_connections", connections)
        last = len(prices.ids) - 1
        await until_all_had(others, last)
    for other in others:
        assert numbers(other) == list(range(last + 1))

    assert end["code"] == 4000
    assert "slow" in end["reason"]
    had = numbers(client)
    assert had == list(range(1, len(had) + 1))
    assert 0 < len(had) < len(prices.ids)
    # It comes back with its cursor, and reads: nothing was lost, and catching up is no reason to be closed.
    again = await connect(server, transport, prices.channel, cursor=client.cursor)
    await read_to(again, last)
    assert had + numbers(again) == list(range(1, last + 1))
    assert again.gaps == []


@STREAMS
async def test_who_begins_with_all_that_is_kept_is_not_closed_for_it(
    server: ServerProcess, publisher: Batches, channel: str, transport: str
) -> None:
    prices = Prices(f"alerts.{channel}", publisher)
    await prices.publish(KEPT)
    client = await connect(server, transport, prices.channel, query={"after": "earliest"})
    await read_to(client, KEPT - 1)
    assert numbers(client) == list(range(KEPT))


async def test_one_channel_that_closes_is_enough(
    server: ServerProcess, publisher: Batches, channel: str
) -> None:
    prices = Prices(f"alerts.{channel}", publisher)
    client = await stalled(server, "sse", f"{channel},{prices.channel}", prices)
    client.channels = (channel, prices.channel)
    [end] = await ends(client)
    assert end["code"] == 4000


# --- on a simulated clock: when the last word itself meets a peer that takes nothing --------------------


@pytest.fixture
async def closing() -> AsyncIterator[Simulation]:
    """A server that closes all readers that are behind."""
    simulation = await Simulation.begun(slow=(("**", SlowPolicy.CLOSE),))
    yield simulation
    await simulation.close()


@pytest.mark.parametrize("kind", ["stream", "web_socket"])
async def test_a_closed_reader_that_never_reads_is_cut(closing: Simulation, kind: str) -> None:
    peer = getattr(closing, kind)("news")
    peer.stall()
    await closing.publish("news")
    closing.pass_time(59)
    assert peer.is_open()
    closing.pass_time(2)
    assert peer.closed_at is not None
    assert closing.app.connections == set()


@pytest.mark.parametrize("kind", ["stream", "web_socket"])
async def test_a_reader_that_stalls_at_the_last_word_is_told_one_end(closing: Simulation, kind: str) -> None:
    peer = getattr(closing, kind)("news")
    [connection] = closing.app.connections
    peer.stall()
    assert connection.drain(1_000)
    peer.read_on()
    said = peer.text
    assert said.count(b"event: end\n") + said.count(b'{"end":') == 1
    assert said.count(b'"code":4005') == 1
    if kind == "web_socket":
        assert said.endswith(b"\x0f\xa5shutting down"), "one close frame, and it is the last"
    closing.pass_time(5)
    assert peer.closed_at is not None


async def test_a_stream_that_stalls_as_it_rotates_is_told_one_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidings.transports.sse.uniform", lambda _low, high: high)
    ended = 0.0
    for stalls in (False, True):
        simulation = await Simulation.begun(slow=(("**", SlowPolicy.CLOSE),))
        peer = simulation.stream("news")
        if not stalls:
            simulation.pass_time(800)
            [ended] = peer.times_of(b"event: end\n")
        else:
            simulation.pass_time(ended - simulation.now - 0.05)
            peer.stall()
            simulation.pass_time(1)
            assert peer.unsent
            peer.read_on()
        assert peer.text.count(b"event: end\n") == peer.text.count(b'"code":4005') == 1


async def test_refusals_to_a_websocket_that_takes_nothing_end_in_one_close(closing: Simulation) -> None:
    peer = closing.web_socket("news")
    peer.say(b"".join(raw.frame(raw.TEXT, b"nonsense") for _ in range(9)))
    peer.stall()
    peer.say(raw.frame(raw.TEXT, b"nonsense"))  # the tenth: refused, and then the connection is closed
    peer.read_on()
    assert sum(peer.text.count(code.to_bytes(2, "big")) for code in (4000, 4500)) == 1


# --- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["prices.*", "=latest", "a.**.b=latest", "a b=close", "prices.*=newest"])
def test_a_rule_that_is_none_is_said_before_anything_starts(rule: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tidings", "serve", "--port", "0", "--slow", rule],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "listening" not in result.stderr
    assert result.stderr.strip()
