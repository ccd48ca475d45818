"""What can no longer be had is said, in-band and before the first message behind it (spec §3.3)."""

import pytest

from kit import ServerProcess, serving
from raw import ask
from story.clients import TRANSPORTS, Client, Publisher, connect, epoch, position

every_transport = pytest.mark.parametrize("transport", TRANSPORTS)
OTHER_LIFE = "0therlife-17"


def kinds(client: Client) -> list[str]:
    """Return the kinds of what came, in order."""
    return [item.kind for item in client.items]


async def test_a_cursor_of_another_life_of_the_log_is_a_gap_of_reason_epoch() -> None:
    """On all four in one test: it starts two servers."""
    cursors = {}
    with serving("--drain", "0") as first:
        await Publisher(first).say("news", 1, 2, 3)
        for transport in TRANSPORTS:
            client = await connect(first, transport, "news", query={"after": "earliest"})
            await client.take(3)
            cursors[transport] = client.cursor
            client.abort()
        assert first.stop() == 0
    with serving("--drain", "0") as second:
        publisher = Publisher(second)
        ids = await publisher.say("news", "a", "b")
        for transport, old in cursors.items():
            assert epoch(old) != epoch(ids[0])
            client = await connect(second, transport, "news", cursor=old)
            # All of the new life follows: the old cursor says nothing about it.
            assert await client.data(2) == ["a", "b"], transport
            assert kinds(client)[:3] == ["gap", "message", "message"]
            [gap] = client.gaps
            assert (gap["channel"], gap["after"], gap["reason"]) == ("news", old, "epoch")
            assert epoch(gap["resumed"]) == epoch(ids[0])
            assert position(gap["resumed"]) < position(ids[0])
            client.abort()


@every_transport
async def test_a_gap_of_reason_epoch_comes_also_where_nothing_follows(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    client = await connect(shared, transport, channel, cursor=OTHER_LIFE)
    while not client.gaps:
        await client.step()
    [gap] = client.gaps
    assert (gap["after"], gap["reason"]) == (OTHER_LIFE, "epoch")
    # Told once: the cursor is now one of this life, and resumes without another gap.
    assert epoch(client.cursor) == epoch(gap["resumed"])
    await Publisher(shared).say(channel, "next")
    assert await client.data(1) == ["next"]
    again = await connect(shared, transport, channel, cursor=client.cursor)
    await Publisher(shared).say(channel, "later")
    assert await again.data(1) == ["later"]
    assert (len(client.gaps), again.gaps) == (1, [])


@every_transport
async def test_a_gap_is_told_for_each_channel(shared: ServerProcess, channel: str, transport: str) -> None:
    names = (f"{channel}a", f"{channel}b")
    publisher = Publisher(shared)
    await publisher.say(names[1], 1)
    client = await connect(shared, transport, *names, cursor=OTHER_LIFE)
    assert await client.data(1) == [1]
    assert kinds(client) == ["gap", "gap", "message"]
    assert sorted(gap["channel"] for gap in client.gaps) == list(names)


@every_transport
async def test_what_has_left_the_window_is_a_gap_of_reason_retention(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    ids = await publisher.flood(channel, [b"%d" % n for n in range(1200)])
    client = await connect(shared, transport, channel, cursor=ids[49])
    first = await client.take(1000)
    assert [m["data"] for m in first] == list(range(200, 1200))
    assert kinds(client)[:2] == ["gap", "message"]
    assert client.gaps == [{"channel": channel, "after": ids[49], "resumed": ids[199], "reason": "retention"}]
    await publisher.say(channel, "next")
    assert await client.data(1) == ["next"]


@every_transport
async def test_a_cursor_inside_the_window_is_no_gap(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    ids = await Publisher(shared).flood(channel, [b"%d" % n for n in range(1100)])
    # ids[99] is the last that was lost, and everything behind it is there.
    client = await connect(shared, transport, channel, cursor=ids[99])
    assert (await client.take(1000))[0]["data"] == 100
    assert client.gaps == []


@every_transport
@pytest.mark.parametrize("query", [{"after": "earliest"}, {"rewind": "5000"}, {"rewind": "900s"}])
async def test_who_asks_for_as_much_as_there_is_has_no_gap(
    shared: ServerProcess, channel: str, transport: str, query: dict[str, str]
) -> None:
    await Publisher(shared).flood(channel, [b"%d" % n for n in range(1005)])
    client = await connect(shared, transport, channel, query=query)
    assert (await client.take(1000))[0]["data"] == 5
    assert client.gaps == []


@every_transport
async def test_one_channel_may_have_lost_messages_and_another_none(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    busy, calm = f"{channel}-busy", f"{channel}-calm"
    [start] = await publisher.say(calm, "start")
    await publisher.say(calm, "early")
    ids = await publisher.flood(busy, [b"%d" % n for n in range(1010)])
    await publisher.say(calm, "late")
    client = await connect(shared, transport, busy, calm, cursor=start)
    data = await client.data(1002)
    assert data == ["early", *range(10, 1010), "late"]
    assert client.gaps == [{"channel": busy, "after": start, "resumed": ids[9], "reason": "retention"}]
    assert kinds(client).index("gap") < [m["data"] for m in client.messages].index(10) + 1


@every_transport
async def test_a_cursor_from_the_future_is_a_gap_of_reason_ahead(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    [last] = await publisher.say(channel, "here")
    future = f"{epoch(last)}-{position(last) + 1_000_000}"
    client = await connect(shared, transport, channel, cursor=future)
    while not client.gaps:
        await client.step()
    [gap] = client.gaps
    assert (gap["after"], gap["reason"]) == (future, "ahead")
    assert position(gap["resumed"]) < position(future)
    await publisher.say(channel, "next")
    assert await client.data(1) == ["next"]
    assert kinds(client) == ["gap", "message"]
    again = await connect(shared, transport, channel, cursor=client.cursor)
    await publisher.say(channel, "later")
    assert await again.data(1) == ["later"]
    assert again.gaps == []


GARBAGE = ["garbage", "a-b-c", "-", "abc-01", "abc-99999999999999999999", "A-1", "x" * 300, "ü-1"]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("wait", ["", "&wait=5"], ids=["polling", "long-polling"])
async def test_what_is_no_cursor_is_refused_on_polls(
    shared: ServerProcess, channel: str, garbage: str, wait: str
) -> None:
    quoted = garbage.replace("ü", "%C3%BC")
    answer = await ask(shared, "GET", f"/channels/{channel}?after={quoted}{wait}")
    assert (answer.status, answer.json["code"]) == (400, "bad_cursor")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_what_is_no_cursor_is_a_gap_on_streams(
    shared: ServerProcess, channel: str, garbage: str, transport: str
) -> None:
    publisher = Publisher(shared)
    await publisher.say(channel, "kept")
    client = await connect(shared, transport, channel, query={"after": garbage})
    assert await client.data(1) == ["kept"]
    assert kinds(client) == ["gap", "message"]
    [gap] = client.gaps
    assert gap["reason"] == "cursor"
    assert len(gap["after"]) <= 128
    assert gap["after"].isascii()
    assert gap["after"].isprintable()


async def test_a_stream_with_a_garbage_cursor_hands_on_one_that_resumes(
    shared: ServerProcess, channel: str
) -> None:
    client = await connect(shared, "sse", channel, headers={"Last-Event-ID": "garbage"})
    # Before the gap there is nothing to hand on; with it there is.
    assert client.cursor == ""
    await client.step()
    assert len(client.gaps) == 1
    resumed = await connect(shared, "sse", channel, headers={"Last-Event-ID": client.cursor})
    await Publisher(shared).say(channel, "next")
    assert await resumed.data(1) == ["next"]
    assert resumed.gaps == []
