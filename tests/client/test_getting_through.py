"""Getting through: what a client does when a transport hangs, is buffered, refused, or comes back."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import tidings
from client.obstacle import Treatment, obstacle
from kit import ServerProcess, serving
from tidings.client import Feed, Gap, Message, State, backoff, link, supervisor, upgrade
from tidings.client.choice import TRANSPORTS, Choice

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def channel() -> str:
    return f"transport-{next(_numbers)}"


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every patience short."""
    monkeypatch.setattr(supervisor, "HEAD_START", dict.fromkeys(TRANSPORTS, 0.2))
    monkeypatch.setattr(link, "FIRST_SIGN", 0.3)
    monkeypatch.setattr(backoff, "BASE", 0.02)


def be_patient(monkeypatch: pytest.MonkeyPatch, but: Mapping[str, float] | None = None) -> None:
    """Give every transport the time that it needs, `but` these: however slow the server, the next waits."""
    monkeypatch.setattr(supervisor, "HEAD_START", {**dict.fromkeys(TRANSPORTS, 60.0), **(but or {})})


async def take(feed: Feed, count: int) -> list[Any]:
    """Return the data of this many messages, which no gap may interrupt."""
    taken: list[Any] = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            item = await anext(feed)
            assert isinstance(item, Message), item
            taken.append(item.data)
    return taken


async def until(feed: Feed, name: str) -> None:
    """Wait until the feed is in this state."""
    async with asyncio.timeout(30):
        while feed.state.name != name:  # noqa: ASYNC110 - another task's
            await asyncio.sleep(0.01)


async def until_over(feed: Feed, transport: str) -> None:
    """Wait until the feed is live over this transport."""
    async with asyncio.timeout(30):
        while (feed.state.name, feed.transport) != ("live", transport):  # noqa: ASYNC110 - another task's
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("treat", "through"),
    [
        ({"websocket": "hang"}, "sse"),
        ({"websocket": "strip", "sse": "buffer"}, "long-polling"),
        ({"websocket": "hang", "sse": "hang"}, "long-polling"),
        ({"websocket": "drop", "sse": "drop"}, "long-polling"),
    ],
    ids=lambda value: " ".join(f"{k}-{v}" for k, v in value.items()) if isinstance(value, dict) else value,
)
async def test_a_message_comes_within_five_seconds_whatever_is_in_the_way(
    shared: ServerProcess, channel: str, treat: dict[str, Treatment], through: str, steady: None
) -> None:
    now = asyncio.get_running_loop().time
    at: dict[tuple[str, str], float] = {}

    def on_state(state: State) -> None:
        at.setdefault((state.name, state.transport), now())

    async with obstacle(shared, **treat) as way, tidings.connect(way.url) as client:
        await client.publish(channel, "here")
        begun = now()
        feed = client.subscribe(channel, rewind=1, on_state=on_state)
        assert await take(feed, 1) == ["here"]
        # All but the time that the server took to answer.
        answered_in = at["live", through] - at["connecting", through]
        assert now() - begun - answered_in < 5
        assert (feed.state.name, feed.transport) == ("live", through)


async def test_a_buffered_stream_is_told_as_such(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.client.ask.BUFFERED", 0.2)
    states: list[State] = []
    async with obstacle(shared, sse="buffer") as way:
        async with tidings.connect(way.url, transports=["sse"]) as client:
            feed = client.subscribe(channel, rewind=1, on_state=states.append)
            reading = asyncio.ensure_future(anext(feed))
            # It goes on trying: there is no other that it may use.
            async with asyncio.timeout(30):
                while way.seen["sse"] < 2:  # noqa: ASYNC110 - the other end of a connection
                    await asyncio.sleep(0.01)
            assert way.seen.keys() == {"sse"}
            assert "keeps it back" in feed.explain()
            assert not reading.done()
            reading.cancel()
        assert any("keeps it back" in state.reason for state in states)
        assert states[-1].name == "idle"


async def test_a_better_transport_is_found_again_without_a_loss_or_a_break(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(upgrade, "FIRST", 0.1)
    states: list[State] = []
    blocked: dict[str, Treatment] = {"websocket": "hang", "sse": "buffer", "long_polling": "drop"}
    async with obstacle(shared, **blocked) as way, tidings.connect(way.url) as client:
        feed = client.subscribe(channel, after="earliest", interval=0.02, on_state=states.append)
        await client.publish(channel, 0)
        assert await take(feed, 1) == [0]

        async def publish() -> None:
            for number in itertools.count(1):
                await client.publish(channel, number)
                if number >= 100 and feed.transport == "websocket":
                    return

        publishing = asyncio.create_task(publish())
        got: list[Any] = []
        # One after the other the transports are free again; each is found while messages go on coming.
        for now_free in ("long-polling", "sse", "websocket"):
            way.treat[now_free] = "pass"
            while feed.transport != now_free:
                got += await take(feed, 1)
        await publishing
        await client.publish(channel, "end")
        while (last := await take(feed, 1)) != ["end"]:
            got += last
        assert got == list(range(1, len(got) + 1))
        # The working one was left only for a better one.
        after_live = [state.name for state in states][[s.name for s in states].index("live") :]
        assert set(after_live) == {"live"}
        assert [s.transport for s in states if s.name == "live"][-1] == "websocket"


async def test_looking_for_a_better_transport_does_not_disturb_the_one_that_works(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch, but={"websocket": 0.1})
    monkeypatch.setattr(upgrade, "FIRST", 0.02)
    states: list[State] = []
    now = asyncio.get_running_loop().time
    async with obstacle(shared, websocket="hang") as way, tidings.connect(way.url) as client:
        feed = client.subscribe(channel, after="earliest", on_state=states.append)
        async with feed:
            await until_over(feed, "sse")
            # Of the WebSocket, which is all that is tried from here on.
            monkeypatch.setattr(link, "FIRST_SIGN", 0.1)
            begun = now()
            for number in range(200):
                await client.publish(channel, number)
                await asyncio.sleep(0.005)
            assert await take(feed, 200) == list(range(200))
            took = now() - begun
        assert way.seen["sse"] == 1
        tries = way.seen["websocket"] - 1
        assert tries >= 1
        # 0.02, 0.04, 0.08 … between them, a quarter less or more, not one after the other.
        assert sum(0.75 * 0.02 * 2**n for n in range(tries)) <= took
    assert [state.name for state in states if state.name != "connecting"] == ["live", "idle"]


async def test_what_worked_is_begun_with_next_time(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    async with obstacle(shared, websocket="strip") as way:
        for _ in range(2):
            async with tidings.connect(way.url) as client, client.subscribe(channel) as feed:
                await until_over(feed, "sse")
        assert way.seen == {"websocket": 1, "sse": 2}


def test_what_worked_is_remembered_for_an_hour_and_by_origin() -> None:
    Choice("http://a:1", TRANSPORTS).worked("sse", now=1000.0)
    assert Choice("http://a:1", TRANSPORTS).order(now=4599.0)[:2] == ["sse", "websocket"]
    assert Choice("http://a:1", TRANSPORTS).order(now=4601.0)[0] == "websocket"
    assert Choice("http://b:1", TRANSPORTS).order(now=1001.0)[0] == "websocket"
    # Who may not use it begins with what is preferred.
    assert Choice("http://a:1", ("long-polling", "polling")).order(now=1001.0)[0] == "long-polling"


async def test_only_the_given_transports_are_used_in_the_given_order(
    shared: ServerProcess, channel: str
) -> None:
    async with obstacle(shared, polling="drop") as way:
        async with tidings.connect(way.url, transports=["polling", "sse"]) as client:
            feed = client.subscribe(channel, rewind=1)
            await client.publish(channel, 1)
            assert await take(feed, 1) == [1]
        assert way.seen.keys() == {"polling", "sse", "publish"}


async def test_a_transport_that_is_cut_at_the_same_age_twice_gives_way_to_the_next(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch, steady: None
) -> None:
    be_patient(monkeypatch)
    async with obstacle(shared) as way, tidings.connect(way.url) as client:
        feed = client.subscribe(channel)
        async with feed:
            for _ in range(2):
                await until_over(feed, "websocket")
                way.cut()
                async with asyncio.timeout(10):
                    while feed.state.name == "live" and feed.transport == "websocket":  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
            await until_over(feed, "sse")
            assert "at the same age" in feed.explain()


async def test_a_server_that_is_away_is_waited_for_and_told(
    channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    monkeypatch.setattr(backoff, "BASE", 0.05)
    states: list[State] = []
    with serving("--drain", "0.1") as first:
        async with tidings.connect(first.url) as client:
            feed = client.subscribe(channel, after="earliest", on_state=states.append)
            await client.publish(channel, 1)
            assert await take(feed, 1) == [1]
            await asyncio.to_thread(first.stop)
            await until(feed, "offline")
            assert "refused" in feed.state.reason
            assert feed.state.wait > 0
            with serving("--port", str(first.port)):
                assert isinstance(await anext(feed), Gap)
                await client.publish(channel, 2)
                assert await take(feed, 1) == [2]
                await until(feed, "live")
                # A restart is no reason to take a lesser transport.
                assert feed.transport == "websocket"
    names = [name for name, _ in itertools.groupby(state.name for state in states)]
    assert names[:3] == ["connecting", "live", "recovering"]
    assert names[-2:] == ["live", "idle"]


async def test_a_machine_that_slept_makes_a_new_connection_at_once(
    shared: ServerProcess, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_patient(monkeypatch)
    monkeypatch.setattr(supervisor, "TICK", 0.05)
    skew = 0.0
    monkeypatch.setattr(supervisor, "wall", lambda: time.time() + skew)
    async with obstacle(shared) as way, tidings.connect(way.url) as client:
        feed = client.subscribe(channel)
        async with feed:
            await until_over(feed, "websocket")
            # An hour in which the loop's own clock stood still.
            skew = 3600.0
            async with asyncio.timeout(10):
                while way.seen["websocket"] < 2:  # noqa: ASYNC110 - the other end of a connection
                    await asyncio.sleep(0.01)
            await until_over(feed, "websocket")
            await client.publish(channel, "morning")
            assert await take(feed, 1) == ["morning"]
            assert "slept" in feed.explain()


async def test_explain_tells_what_was_tried_and_why_it_fell(shared: ServerProcess, channel: str) -> None:
    async with obstacle(shared, websocket="strip", sse="drop") as way, tidings.connect(way.url) as client:
        assert "idle" in client.subscribe("other").explain()
        feed = client.subscribe(channel)
        async with feed:
            await until_over(feed, "long-polling")
            told = client.explain()
        for words in (channel, "live over long-polling", "websocket: ", "upgrade_required", "sse: "):
            assert words in told, told
