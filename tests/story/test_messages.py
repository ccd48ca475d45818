"""The message is the same JSON on all four transports, and its data the publisher's own bytes (spec §4.1)."""

import json

import pytest

from kit import ServerProcess
from raw import Answer, ask
from story.clients import TRANSPORTS, Publisher, connect

every_transport = pytest.mark.parametrize("transport", TRANSPORTS)

# Every one is JSON as it stands, and some of it looks like the framing around it.
DATA = {
    "number": b"-0.00e+10",
    "big number": b"123456789012345678901234567890.10",
    "null": b"null",
    "escaped line ends": rb'"a\nb\rc\r\nd"',
    "fields of an event stream": rb'"data: x\nid: 9\n\nevent: end\n: comment"',
    "colons": b'":: data:: "',
    "byte order mark": '"\ufeffmark\ufeff"'.encode(),
    "line and paragraph separators, next line": '"\u2028\u2029\u0085\u000b"'.replace("\u000b", "").encode(),
    "emoji": '"👩\u200d👩\u200d👧 🏳️\u200d🌈"'.encode(),
    "escaped emoji": rb'"\ud83d\ude00"',
    "escapes": rb'"\"\\\/\b\f\u0000\u001f\u00e9\u2028"',
    "same key twice": b'{"a":1,"a":2}',
    "spaces between tokens": b'{ "a" :\t[ 1 ,2 ] }',
    "empty key and string": b'{"":""}',
    "delete and controls of Latin-1": '"\x7f\x80\x9f"'.encode(),
    "as long as two length bytes": b'"' + b"x" * 200 + b'"',
    "as long as eight length bytes": b'"' + b"y" * 65_530 + b'"',
}
PRETTY = [
    json.dumps({"a": [1, {"b": "c\nd"}], "e": {}}, indent=2).encode(),
    b'{\r\n\t"a": 1,\r\n\t"b": [\r\n\t\t2\r\n\t]\r\n}',
    b"[1,\r2,\n3,\r\n4\n\n,5]",
]


@every_transport
@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
async def test_data_is_the_publishers_bytes(
    shared: ServerProcess, channel: str, transport: str, data: bytes
) -> None:
    publisher = Publisher(shared)
    # Live, and once more from the window.
    client = await connect(shared, transport, channel)
    answer = await publisher.post(channel, body=data)
    assert answer.status == 201, answer
    await client.take(1)
    late = await connect(shared, transport, channel, query={"after": "earliest"})
    await late.take(1)
    for item in (client.items[0], late.items[0]):
        assert item.text.endswith(b',"data":' + data + b"}")


@every_transport
@pytest.mark.parametrize("data", PRETTY, ids=["LF", "CRLF", "mixed"])
async def test_line_ends_between_tokens_are_spaces_on_an_event_stream_and_nowhere_else(
    shared: ServerProcess, channel: str, transport: str, data: bytes
) -> None:
    client = await connect(shared, transport, channel)
    await Publisher(shared).post(channel, body=data)
    await client.take(1)
    text = client.items[0].text
    wanted = data.replace(b"\r", b" ").replace(b"\n", b" ") if transport == "sse" else data
    assert text.endswith(b',"data":' + wanted + b"}")
    assert client.messages[0]["data"] == json.loads(data)


@every_transport
async def test_a_message_bears_its_event_and_key(shared: ServerProcess, channel: str, transport: str) -> None:
    publisher = Publisher(shared)
    client = await connect(shared, transport, channel)
    await publisher.post(channel, 1, query="?event=price&key=%22a%5Cb%22")
    await publisher.post(channel, 2, query="?event=price:new")
    await publisher.post(channel, 3, query="?key=k")
    messages = await client.take(3)
    assert [list(m) for m in messages] == [
        ["id", "channel", "time", "event", "key", "data"],
        ["id", "channel", "time", "event", "data"],
        ["id", "channel", "time", "key", "data"],
    ]
    assert messages[0]["event"] == "price"
    assert messages[0]["key"] == '"a\\b"'
    assert messages[1]["event"] == "price:new"


@every_transport
async def test_text_becomes_a_json_string(shared: ServerProcess, channel: str, transport: str) -> None:
    client = await connect(shared, transport, channel)
    text = '\ufeffline\r\nline\n"quoted" \\ \u2028 👋\x00\x1f'
    answer = await Publisher(shared).post(
        channel, body=text.encode(), headers={"Content-Type": "text/plain; charset=utf-8"}
    )
    assert answer.status == 201
    assert await client.data(1) == [text]


async def test_all_transports_carry_the_same_text(shared: ServerProcess, channel: str) -> None:
    clients = [await connect(shared, transport, channel) for transport in TRANSPORTS]
    await Publisher(shared).post(channel, body=b'{"a": [1,2],"b":"\xc3\xa9"}', query="?event=e&key=k")
    for client in clients:
        await client.take(1)
    assert len({client.items[0].text for client in clients}) == 1


async def test_time_is_in_milliseconds_since_the_epoch_and_does_not_fall(
    shared: ServerProcess, channel: str
) -> None:
    await Publisher(shared).say(channel, *range(20))
    messages = (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"]
    times = [m["time"] for m in messages]
    assert times == sorted(times)
    assert 1_600_000_000_000 < times[0] < 10_000_000_000_000


def refused(answer: Answer, status: int, code: str) -> bool:
    """Whether `answer` is that refusal, in full."""
    problem = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "code", "detail", "retry"}
    assert problem["status"] == answer.status
    return (answer.status, problem["code"]) == (status, code)


async def test_publishing_answers_with_id_and_durability(shared: ServerProcess, channel: str) -> None:
    answer = await Publisher(shared).post(channel, 1)
    assert answer.status == 201
    assert set(answer.json) == {"id", "durability"}
    assert answer.json["durability"] == "memory"
    assert len(answer.json["id"]) <= 128


async def test_an_idempotency_key_publishes_once_on_each_channel(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    once = {"Idempotency-Key": "k1"}
    first = await publisher.post(channel, "first", headers=once)
    second = await publisher.post(channel, "second", headers=once)
    assert (first.status, second.status) == (201, 200)
    assert second.json == {**first.json, "duplicate": True}
    other = await publisher.post(f"{channel}-other", "other", headers=once)
    assert other.status == 201
    assert "duplicate" not in other.json
    messages = (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"]
    assert [m["data"] for m in messages] == ["first"]
    # The idempotency key is not the message's key.
    assert "key" not in messages[0]


async def test_idempotency_keys_are_case_sensitive_and_checked(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    for key in ("a", "A"):
        assert (await publisher.post(channel, 1, headers={"Idempotency-Key": key})).status == 201
    for key in ("x" * 201, "a b"):
        assert refused(await publisher.post(channel, 1, headers={"Idempotency-Key": key}), 400, "bad_key")


async def test_a_post_to_several_channels_is_one_message_on_each(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    names = [f"{channel}{letter}" for letter in "abc"]
    client = await connect(shared, "websocket", *names)
    answer = await publisher.post(",".join(names), {"to": "all"}, headers={"Idempotency-Key": "k"})
    assert answer.status == 201
    messages = await client.take(3)
    assert sorted(m["channel"] for m in messages) == names
    assert all(m["data"] == {"to": "all"} for m in messages)
    assert answer.json["id"] == messages[-1]["id"]
    again = await publisher.post(",".join(names), {"to": "all"}, headers={"Idempotency-Key": "k"})
    assert again.status == 200
    assert (again.json["id"], again.json["duplicate"]) == (answer.json["id"], True)


@pytest.mark.parametrize(
    "event", ["ready", "gap", "advice", "end", "a%20b", "a%0Ab", "a%00", "%C3%A9", "", "x" * 65]
)
async def test_an_event_name_that_is_reserved_or_not_safe_is_refused(
    shared: ServerProcess, channel: str, event: str
) -> None:
    answer = await Publisher(shared).post(channel, 1, query=f"?event={event}")
    assert refused(answer, 400, "bad_event")
