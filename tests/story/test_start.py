"""Where a client begins: the same on all four transports (spec §2.2)."""

import asyncio
from itertools import pairwise

import pytest

import raw
from kit import ServerProcess
from story.clients import TRANSPORTS, Publisher, connect, epoch, position

every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


@every_transport
async def test_without_a_start_a_client_hears_what_comes_from_now_on(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    await publisher.say(channel, "before")
    client = await connect(shared, transport, channel)
    ids = await publisher.say(channel, "first", "second")
    messages = await client.take(2)
    assert [m["data"] for m in messages] == ["first", "second"]
    assert [m["id"] for m in messages] == ids
    assert [list(m) for m in messages] == [["id", "channel", "time", "data"]] * 2
    assert client.cursor == ids[-1]
    assert client.gaps == []


@every_transport
async def test_after_a_cursor_comes_exactly_what_follows_it(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    ids = await publisher.say(channel, 1, 2, 3, 4)
    client = await connect(shared, transport, channel, cursor=ids[1])
    assert await client.data(2) == [3, 4]
    await publisher.say(channel, 5)
    assert await client.data(1) == [5]
    assert client.gaps == []


@every_transport
async def test_last_event_id_wins_over_the_query(shared: ServerProcess, channel: str, transport: str) -> None:
    ids = await Publisher(shared).say(channel, 1, 2, 3)
    client = await connect(
        shared, transport, channel, query={"after": ids[0]}, headers={"Last-Event-ID": ids[1]}
    )
    assert await client.data(1) == [3]


@every_transport
async def test_after_earliest_is_everything_that_is_kept(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    await Publisher(shared).say(channel, 1, 2, 3)
    client = await connect(shared, transport, channel, query={"after": "earliest"})
    assert await client.data(3) == [1, 2, 3]
    assert client.gaps == []


@every_transport
async def test_earliest_on_an_empty_channel_waits_for_the_first_message(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    client = await connect(shared, transport, channel, query={"after": "earliest"})
    await Publisher(shared).say(channel, "first")
    assert await client.data(1) == ["first"]


@every_transport
@pytest.mark.parametrize(
    ("count", "wanted"), [("2", [3, 4]), ("9", [1, 2, 3, 4]), ("999999999", [1, 2, 3, 4])]
)
async def test_rewind_by_a_count_begins_that_many_messages_back(
    shared: ServerProcess, channel: str, transport: str, count: str, wanted: list[int]
) -> None:
    publisher = Publisher(shared)
    await publisher.say(channel, 1, 2, 3, 4)
    client = await connect(shared, transport, channel, query={"rewind": count})
    assert await client.data(len(wanted)) == wanted
    await publisher.say(channel, 5)
    assert await client.data(1) == [5]
    assert client.gaps == []


@every_transport
async def test_rewind_by_nothing_is_from_now_on(shared: ServerProcess, channel: str, transport: str) -> None:
    publisher = Publisher(shared)
    await publisher.say(channel, 1)
    client = await connect(shared, transport, channel, query={"rewind": "0"})
    await publisher.say(channel, 2)
    assert await client.data(1) == [2]


@every_transport
async def test_rewind_counts_over_all_channels_together(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    for number in range(6):
        await publisher.say(f"{channel}{'ab'[number % 2]}", number)
    client = await connect(shared, transport, f"{channel}a", f"{channel}b", query={"rewind": "3"})
    assert await client.data(3) == [3, 4, 5]


@every_transport
async def test_rewind_by_seconds_begins_with_what_is_not_older(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    times: list[int] = []  # of the messages, by the server's own clock

    async def say(name: str) -> int:
        """Publish the next number on a channel, and return when that was, in milliseconds."""
        await publisher.say(name, len(times))
        [message] = (await raw.ask(shared, "GET", f"/channels/{name}?rewind=1")).json["messages"]
        time: int = message["time"]
        return time

    times.append(await say(channel))
    async with asyncio.timeout(4 * raw.PATIENCE):
        while True:
            while await say(f"{channel}-clock") - times[-1] <= 1_100:  # noqa: ASYNC110  the server's clock
                await asyncio.sleep(0.05)
            times.append(await say(channel))
            client = await connect(shared, transport, channel, query={"rewind": "1s"})
            # All that came before is older than a second. If the last one is, too, it is begun again.
            if await say(f"{channel}-clock") - times[-1] < 1_000:
                break
            client.abort()
    assert await client.data(1) == [len(times) - 1]
    whole = await connect(shared, transport, channel, query={"rewind": "300s"})
    assert await whole.data(len(times)) == list(range(len(times)))


@every_transport
async def test_several_channels_share_one_connection_and_one_cursor(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    names = [f"{channel}{letter}" for letter in "abc"]
    client = await connect(shared, transport, *names)
    ids = []
    for number in range(30):
        ids += await publisher.say(names[number * 7 % 3], number)
    first = await client.take(12)
    # The one cursor stands behind what came on all three: another connection goes on there.
    again = await connect(shared, transport, *names, cursor=client.cursor)
    taken = len(client.messages)
    rest = client.messages[12:] + (await again.take(30 - taken) if taken < 30 else [])
    messages = first + rest
    assert [m["id"] for m in messages] == ids
    assert [m["data"] for m in messages] == list(range(30))
    assert [m["channel"] for m in messages] == [names[n * 7 % 3] for n in range(30)]
    assert client.gaps == again.gaps == []


@every_transport
async def test_channels_in_any_order_and_twice_are_the_same_question(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    names = [f"{channel}b", f"{channel}a", f"{channel}b"]
    client = await connect(shared, transport, *names)
    publisher = Publisher(shared)
    await publisher.say(f"{channel}a", 1)
    await publisher.say(f"{channel}b", 2)
    assert await client.data(2) == [1, 2]


@pytest.mark.parametrize("next_transport", TRANSPORTS)
@every_transport
async def test_the_cursor_of_any_transport_resumes_on_any_other(
    shared: ServerProcess, channel: str, transport: str, next_transport: str
) -> None:
    publisher = Publisher(shared)
    client = await connect(shared, transport, channel)
    await publisher.say(channel, 1, 2)
    assert await client.data(2) == [1, 2]
    client.abort()
    await publisher.say(channel, 3, 4)
    resumed = await connect(shared, next_transport, channel, cursor=client.cursor)
    assert await resumed.data(2) == [3, 4]
    await publisher.say(channel, 5)
    assert await resumed.data(1) == [5]
    assert resumed.gaps == []


@every_transport
async def test_a_connection_that_saw_no_message_has_a_cursor_that_resumes(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    publisher = Publisher(shared)
    await publisher.say(channel, "before")
    client = await connect(shared, transport, channel)
    cursor = client.cursor
    assert cursor
    client.abort()
    await publisher.say(channel, "between")
    resumed = await connect(shared, transport, channel, cursor=cursor)
    assert await resumed.data(1) == ["between"]
    assert resumed.gaps == []


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_subscriber_of_several_channels_gets_a_burst_in_the_order_of_ids(
    shared: ServerProcess, channel: str, transport: str
) -> None:
    names = tuple(f"{channel}{letter}" for letter in "abcde")
    client = await connect(shared, transport, *names)
    wire = await raw.Wire.connect(shared)
    # One write, so that the server takes many messages of different channels in one turn.
    requests = [
        raw.head_of("POST", f"/channels/{names[n * 3 % 5]}", body=b"%d" % n) + b"%d" % n for n in range(200)
    ]
    await wire.send(b"".join(requests))
    messages = await client.take(200)
    assert [m["data"] for m in messages] == list(range(200))
    assert all(position(a["id"]) < position(b["id"]) for a, b in pairwise(messages))
    assert len({epoch(m["id"]) for m in messages}) == 1
