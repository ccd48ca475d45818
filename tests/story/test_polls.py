"""What only polling and long-polling have: limits, entity tags, waiting (spec §5.1, §5.2)."""

import asyncio
import time

import pytest

import raw
from kit import ServerProcess
from raw import Wire, ask
from story.clients import Publisher, connect

CLOCK = 0.001  # the server's event loop counts in whole milliseconds
both_polls = pytest.mark.parametrize("wait", ["", "&wait=20"], ids=["polling", "long-polling"])


@both_polls
async def test_a_limit_cuts_the_answer_and_says_that_there_is_more(
    shared: ServerProcess, channel: str, wait: str
) -> None:
    ids = await Publisher(shared).say(channel, 1, 2, 3, 4, 5)
    first = (await ask(shared, "GET", f"/channels/{channel}?after=earliest&limit=2{wait}")).json
    assert [m["data"] for m in first["messages"]] == [1, 2]
    assert first["more"] is True
    assert first["cursor"] == ids[1]
    target = f"/channels/{channel}?after={first['cursor']}&limit=3{wait}"
    rest = (await ask(shared, "GET", target)).json
    assert [m["data"] for m in rest["messages"]] == [3, 4, 5]
    assert "more" not in rest


async def test_a_parked_long_poll_with_a_limit_is_cut_too(shared: ServerProcess, channel: str) -> None:
    cursor = (await ask(shared, "GET", f"/channels/{channel}")).json["cursor"]
    parked = await Wire.connect(shared)
    before = await raw.metric(shared, "tidings_live_subscribers")
    await parked.send(raw.head_of("GET", f"/channels/{channel}?after={cursor}&wait=20&limit=1"))
    await raw.until_metric(shared, "tidings_live_subscribers", before + 1)
    burst = b"".join(raw.head_of("POST", f"/channels/{channel}", body=b"1") + b"1" for _ in range(3))
    publisher = await Wire.connect(shared)
    await publisher.send(burst)
    answer = (await parked.answer()).json
    assert len(answer["messages"]) == 1
    rest = (await ask(shared, "GET", f"/channels/{channel}?after={answer['cursor']}")).json
    async with asyncio.timeout(raw.PATIENCE):
        while len(rest["messages"]) < 2:
            rest = (await ask(shared, "GET", f"/channels/{channel}?after={answer['cursor']}")).json


@pytest.mark.parametrize(("limit", "wanted"), [("0", 1), ("-5", 1), ("999999999999999999", 1000)])
async def test_absurd_limits_are_clamped(
    shared: ServerProcess, channel: str, limit: str, wanted: int
) -> None:
    await Publisher(shared).flood(channel, [b"%d" % n for n in range(min(wanted + 2, 1000))])
    answer = (await ask(shared, "GET", f"/channels/{channel}?after=earliest&limit={limit}")).json
    assert len(answer["messages"]) == wanted


async def test_without_a_limit_an_answer_holds_three_hundred(shared: ServerProcess, channel: str) -> None:
    await Publisher(shared).flood(channel, [b"%d" % n for n in range(301)])
    answer = (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json
    assert len(answer["messages"]) == 300
    assert answer["more"] is True


async def test_an_answer_is_cut_at_a_mebibyte_of_data(shared: ServerProcess, channel: str) -> None:
    body = b'"%b"' % (b"x" * 60_000)
    await Publisher(shared).flood(channel, [body] * 20, window=5)
    answer = await ask(shared, "GET", f"/channels/{channel}?after=earliest")
    assert len(answer.body) < 1_200_000
    assert answer.json["more"] is True
    rest = (await ask(shared, "GET", f"/channels/{channel}?after={answer.json['cursor']}")).json
    assert len(answer.json["messages"]) + len(rest["messages"]) == 20


async def test_a_client_that_has_everything_and_says_so_gets_304(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    await publisher.say(channel, 1)
    first = await ask(shared, "GET", f"/channels/{channel}?after=earliest")
    tag = first.headers["etag"]
    target = f"/channels/{channel}?after={first.json['cursor']}"
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        nothing = await ask(shared, "GET", target, {"If-None-Match": known})
        assert (nothing.status, nothing.body) == (304, b"")
        assert nothing.headers["etag"] == tag
        assert nothing.headers["cache-control"] == "no-store"
    assert (await ask(shared, "GET", target, {"If-None-Match": '"other"'})).status == 200
    await publisher.say(channel, 2)
    news = await ask(shared, "GET", target, {"If-None-Match": tag})
    assert news.status == 200
    assert [m["data"] for m in news.json["messages"]] == [2]


async def test_a_304_leaves_the_connection_usable(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    tag = (await wire.ask("GET", f"/channels/{channel}")).headers["etag"]
    assert (await wire.ask("GET", f"/channels/{channel}", {"If-None-Match": tag})).status == 304
    assert (await wire.ask("GET", f"/channels/{channel}")).status == 200


async def test_a_long_poll_waits_for_the_first_message(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    before = await raw.metric(shared, "tidings_live_subscribers")
    await wire.send(raw.head_of("GET", f"/channels/{channel}?wait=25"))
    await raw.until_metric(shared, "tidings_live_subscribers", before + 1)
    [identity] = await Publisher(shared).say(channel, {"n": 1})
    answer = await wire.answer()
    assert answer.status == 200
    assert answer.headers["preference-applied"] == "wait=25"
    assert [m["id"] for m in answer.json["messages"]] == [identity]
    assert answer.json["cursor"] == identity


async def test_a_long_poll_is_empty_at_its_deadline(shared: ServerProcess, channel: str) -> None:
    started = time.monotonic()
    answer = await ask(shared, "GET", f"/channels/{channel}?wait=0.5")
    assert answer.status == 200
    assert answer.json["messages"] == []
    assert 0.5 - CLOCK <= time.monotonic() - started < raw.PATIENCE
    assert answer.headers["preference-applied"] == "wait=0.5"


async def test_prefer_wait_is_the_same_as_the_parameter(shared: ServerProcess, channel: str) -> None:
    started = time.monotonic()
    answer = await ask(shared, "GET", f"/channels/{channel}", {"Prefer": "respond-async, wait=1"})
    assert answer.headers["preference-applied"] == "wait=1"
    assert time.monotonic() - started >= 1 - CLOCK


@pytest.mark.parametrize(
    ("query", "headers"), [("&wait=99999", {}), ("", {"Prefer": "wait=99999"})], ids=["query", "prefer"]
)
async def test_a_wait_beyond_the_longest_is_clamped(
    shared: ServerProcess, channel: str, query: str, headers: dict[str, str]
) -> None:
    cursor = (await ask(shared, "GET", f"/channels/{channel}")).json["cursor"]
    await Publisher(shared).say(channel, 1)
    answer = await ask(shared, "GET", f"/channels/{channel}?after={cursor}{query}", headers)
    assert answer.headers["preference-applied"] == "wait=55"


async def test_a_plain_poll_applies_no_preference(shared: ServerProcess, channel: str) -> None:
    assert "preference-applied" not in (await ask(shared, "GET", f"/channels/{channel}")).headers


async def test_empty_answers_do_not_run_ahead_of_the_channels_last_message(
    shared: ServerProcess, channel: str
) -> None:
    publisher = Publisher(shared)
    [last] = await publisher.say(channel, 1)
    await publisher.say(f"{channel}-other", 1, 2, 3)
    # Whatever they have seen, all pollers at the tail are told the same place in the same bytes.
    from_now = await ask(shared, "GET", f"/channels/{channel}")
    after_last = await ask(shared, "GET", f"/channels/{channel}?after={last}")
    rewound = await ask(shared, "GET", f"/channels/{channel}?rewind=0")
    [later] = await publisher.say(f"{channel}-other", 4)
    after_later = await ask(shared, "GET", f"/channels/{channel}?after={later}")
    assert (from_now.json["messages"], from_now.json["cursor"]) == ([], last)
    assert {answer.body for answer in (after_last, rewound, after_later)} == {from_now.body}
    # So are all who waited in vain.
    waited = [
        await ask(shared, "GET", f"/channels/{channel}?after={cursor}&wait=0.1") for cursor in (last, later)
    ]
    assert {answer.body for answer in waited} == {waited[0].body}
    assert waited[0].json["cursor"] == last


async def test_two_long_polls_with_the_same_cursor_are_both_answered_alike(
    shared: ServerProcess, channel: str
) -> None:
    cursor = (await ask(shared, "GET", f"/channels/{channel}")).json["cursor"]
    before = await raw.metric(shared, "tidings_live_subscribers")
    wires = [await Wire.connect(shared) for _ in range(5)]
    for wire in wires:
        await wire.send(raw.head_of("GET", f"/channels/{channel}?after={cursor}&wait=20"))
    await raw.until_metric(shared, "tidings_live_subscribers", before + 5)
    await Publisher(shared).say(channel, "all")
    answers = [await wire.answer() for wire in wires]
    assert {answer.body for answer in answers} == {answers[0].body}
    assert answers[0].json["messages"][0]["data"] == "all"
    # And each connection goes on.
    for wire in wires:
        assert (await wire.ask("GET", f"/channels/{channel}")).status == 200


async def test_a_message_published_between_look_and_wait_is_delivered(
    shared: ServerProcess, channel: str
) -> None:
    client = await connect(shared, "long-polling", channel)
    publisher = Publisher(shared)

    async def publish() -> None:
        for number in range(300):
            await publisher.say(channel, number)

    publishing = asyncio.create_task(publish())
    assert await client.data(300) == list(range(300))
    await publishing


async def test_an_explicit_transport_wins_over_the_headers(shared: ServerProcess, channel: str) -> None:
    answer = await ask(
        shared, "GET", f"/channels/{channel}?transport=polling", {"Accept": "text/event-stream"}
    )
    assert answer.headers["content-type"] == "application/json"
    answer = await ask(shared, "GET", f"/channels/{channel}", {"Accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    wire = await Wire.connect(shared)
    await wire.send(raw.head_of("GET", f"/channels/{channel}?transport=sse"))
    assert (await wire.head()).headers["content-type"].startswith("text/event-stream")
    unknown = await ask(shared, "GET", f"/channels/{channel}?transport=pigeon")
    assert (unknown.status, unknown.json["code"]) == (400, "bad_parameter")
