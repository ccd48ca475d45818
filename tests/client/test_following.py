"""The client against a real server: one story over all transports."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest

from kit import ServerProcess, serving
from tidings.client import Feed, Gap, Message, Publisher, Refused, State, backoff, follow
from tidings.client.choice import Transport

TRANSPORTS: tuple[Transport, ...] = ("websocket", "sse", "long-polling", "polling")


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:200]


class Relay:
    """A way to the server that can be cut, as by a network, a proxy, or the server's own end."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pipes: set[asyncio.Task[None]] = set()
        self._requests = asyncio.Semaphore(0)
        # When each of them was carried.
        self.moments: list[float] = []
        self.url = ""

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end closes it, or it is cut."""
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        pipes = [
            asyncio.create_task(_pipe(reader, server_writer, self._carried)),
            asyncio.create_task(_pipe(server_reader, writer)),
        ]
        self._pipes.update(pipes)
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for pipe in pipes:
            pipe.cancel()
        for end in (writer, server_writer):
            end.transport.abort()

    async def carried(self) -> None:
        """Wait for one more piece on the way to the server; a poll is one."""
        await self._requests.acquire()

    def _carried(self) -> None:
        self.moments.append(asyncio.get_running_loop().time())
        self._requests.release()

    async def cut(self) -> None:
        """Cut every connection, in the middle of whatever it carries."""
        pipes, self._pipes = self._pipes, set()
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carried: Callable[[], None] = lambda: None
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            carried()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def relay(server: ServerProcess) -> AsyncIterator[Relay]:
    way = Relay(server.host, server.port)
    listener = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    way.url = f"http://{host}:{port}"
    async with listener:
        yield way
        await way.cut()


async def publish(url: str, channel: str, *data: object) -> list[str]:
    def all_of_them() -> list[str]:
        with Publisher(url) as publisher:
            return [publisher.publish(channel, one).id for one in data]

    return await asyncio.to_thread(all_of_them)


async def take(items: Feed, count: int) -> list[Message]:
    """Return this many messages of an open feed, which must tell no gap."""
    taken: list[Message] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            item = await anext(items)
            assert isinstance(item, Message)
            taken.append(item)
    return taken


def connected() -> tuple[asyncio.Event, Callable[[State], None]]:
    event = asyncio.Event()
    return event, lambda state: event.set() if state.name == "live" else None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_published_arrives_in_order(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    async with follow(shared.url, channel, transport=transport, after="earliest", interval=0.05) as items:
        published = await publish(shared.url, channel, *range(20))
        taken = await take(items, 20)
    assert [m.data for m in taken] == list(range(20))
    assert [m.id for m in taken] == published
    assert items.cursor == published[-1]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_with_no_word_on_where_to_begin_only_what_comes_arrives(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    await publish(shared.url, channel, "before")
    event, on_state = connected()
    async with follow(shared.url, channel, transport=transport, interval=0.05, on_state=on_state) as items:
        waiting = asyncio.create_task(take(items, 1))
        await event.wait()
        await publish(shared.url, channel, "after")
        assert [m.data for m in await waiting] == ["after"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_after_and_rewind_begin_where_they_say(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    ids = await publish(shared.url, channel, 1, 2, 3, 4)
    async with follow(shared.url, channel, transport=transport, after=ids[1]) as items:
        assert [m.data for m in await take(items, 2)] == [3, 4]
    async with follow(shared.url, channel, transport=transport, rewind=3) as items:
        assert [m.data for m in await take(items, 3)] == [2, 3, 4]
    async with follow(shared.url, channel, transport=transport, rewind="60s") as items:
        assert [m.data for m in await take(items, 4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_several_channels_share_one_order_and_one_cursor(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    one, two = channel[:190] + ".1", channel[:190] + ".2"
    async with follow(shared.url, [one, two], transport=transport, after="earliest", interval=0.05) as items:
        for number in range(10):
            await publish(shared.url, (one, two)[number % 2], number)
        assert [(m.channel, m.data) for m in await take(items, 10)] == [
            ((one, two)[n % 2], n) for n in range(10)
        ]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_long_history_comes_whole(shared: ServerProcess, channel: str, transport: Transport) -> None:
    await publish(shared.url, channel, *range(900))
    # A minute between two polls: only `more` brings it within the time.
    items = follow(shared.url, channel, transport=transport, after="earliest", interval=60.0, limit=100)
    async with items:
        assert [m.data for m in await take(items, 900)] == list(range(900))


async def test_polls_come_as_often_as_the_server_advises(shared: ServerProcess, channel: str) -> None:
    await publish(shared.url, channel, *range(20))
    async with relay(shared) as way, follow(way.url, channel, transport="polling", after="earliest") as items:
        await take(items, 20)
        # A channel that was busy just now is asked every quarter of a second; a silent one, every five.
        waiting = asyncio.create_task(take(items, 1))
        async with asyncio.timeout(20):
            while not any(after - before < 1.5 for before, after in pairwise(way.moments)):
                await way.carried()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with (
        relay(shared) as way,
        follow(way.url, channel + "-silent", transport="polling") as items,
    ):
        waiting = asyncio.create_task(take(items, 1))
        await way.carried()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await way.carried()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("transport", [*TRANSPORTS, "auto"])
async def test_cuts_lose_nothing_and_repeat_nothing(
    shared: ServerProcess, channel: str, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "BASE", 0.02)
    async with relay(shared) as way:
        event, on_state = connected()
        items = follow(way.url, channel, transport=transport, interval=0.02, on_state=on_state)
        async with items:
            waiting = asyncio.create_task(take(items, 100))
            await event.wait()
            for ten in range(10):
                await publish(shared.url, channel, *range(ten * 10, ten * 10 + 10))
                await way.cut()
            assert [m.data for m in await waiting] == list(range(100))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_restarted_server_is_told_as_a_gap_and_followed_on(
    channel: str, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "BASE", 0.02)
    with serving("--drain", "0.1") as first:
        [before] = await publish(first.url, channel, "before")
        items = follow(first.url, channel, transport=transport, after="earliest", interval=0.05)
        assert [m.id for m in await take(items, 1)] == [before]
        waiting = asyncio.create_task(anext(items))
        await asyncio.to_thread(first.stop)
        with serving("--port", str(first.port)):
            async with asyncio.timeout(20):
                gap = await waiting
            assert isinstance(gap, Gap)
            assert (gap.channel, gap.after, gap.reason) == (channel, before, "epoch")
            event = asyncio.create_task(take(items, 1))
            await publish(first.url, channel, "after")
            assert [m.data for m in await event] == ["after"]
            await items.aclose()


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_cursor_that_is_none_is_a_gap_on_a_stream(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    await publish(shared.url, channel, 1)
    async with asyncio.timeout(20), follow(shared.url, channel, transport=transport, after="none") as items:
        gap = await anext(items)
        assert isinstance(gap, Gap)
        assert gap.reason == "cursor"
        assert [m.data for m in await take(items, 1)] == [1]


@pytest.mark.parametrize("transport", ["long-polling", "polling"])
async def test_a_cursor_that_is_none_is_refused_on_a_poll(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    with pytest.raises(Refused) as refused:
        await anext(follow(shared.url, channel, transport=transport, after="none"))
    assert refused.value.code == "bad_cursor"


@pytest.mark.parametrize("transport", [*TRANSPORTS, "auto"])
async def test_a_refused_parameter_is_raised_with_its_code(
    shared: ServerProcess, channel: str, transport: Transport
) -> None:
    with pytest.raises(Refused) as refused:
        await anext(follow(shared.url, channel, transport=transport, rewind="soon"))
    assert (refused.value.code, refused.value.status) == ("bad_parameter", 400)


async def test_a_message_is_the_same_bytes_on_all_transports(shared: ServerProcess, channel: str) -> None:
    def once() -> None:
        with Publisher(shared.url) as publisher:
            publisher.publish(channel, '{"a" : 1.00, "ü":"\\u00fc"}'.encode(), event="x", key='k"1')

    await asyncio.to_thread(once)
    texts: set[bytes] = set()
    for transport in TRANSPORTS:
        async with follow(shared.url, channel, transport=transport, rewind=1) as items:
            [message] = await take(items, 1)
        texts.add(message.json)
        assert message.data_json == '{"a" : 1.00, "ü":"\\u00fc"}'.encode()
        assert message.key == 'k"1'
    assert len(texts) == 1


def test_publishing_twice_with_one_key_publishes_once(shared: ServerProcess, channel: str) -> None:
    with Publisher(shared.url) as publisher:
        first = publisher.publish(channel, 1, idempotency_key="k")
        second = publisher.publish(channel, 2, idempotency_key="k")
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.id == second.id
    assert first.durability == "memory"


def test_a_body_that_is_too_large_is_refused_with_the_servers_word(
    shared: ServerProcess, channel: str
) -> None:
    with Publisher(shared.url) as publisher:
        for size in (70_000, 8_000_000):
            with pytest.raises(Refused) as refused:
                publisher.publish(channel, "x" * size)
            assert refused.value.code == "body_too_large"
        # The connection was closed over it; the next message finds a new one.
        assert publisher.publish(channel, "x").id


async def test_a_unix_socket_is_a_server_like_any_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "t.sock"
    with serving("--uds", str(path)):
        url = f"unix:{path}"
        await publish(url, "news", 1, 2)
        for transport in TRANSPORTS:
            async with follow(url, "news", transport=transport, after="earliest") as items:
                assert [m.data for m in await take(items, 2)] == [1, 2]
