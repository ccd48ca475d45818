"""Many messages in one request: `POST /publish` (spec §6.4)."""

import json
import zlib
from typing import Any

import pytest

import raw
from features.publishing import NDJSON, lines_of
from kit import ServerProcess
from raw import Wire, ask
from story.clients import connect, position
from tidings.core import limits


async def batch(server: ServerProcess, body: bytes, headers: dict[str, str] | None = None) -> list[Any]:
    """Publish `body`; return the answer's lines."""
    answer = await ask(server, "POST", "/publish", NDJSON if headers is None else headers, body)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body == b"" or answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


async def kept(server: ServerProcess, channel: str) -> list[Any]:
    answer = await ask(server, "GET", f"/channels/{channel}?after=earliest&limit=1000")
    return [message["data"] for message in answer.json["messages"]]


# --- what is published -----------------------------------------------------------------------------


async def test_each_line_is_a_message_and_each_answer_stands_in_its_place(
    shared: ServerProcess, channel: str
) -> None:
    names = [f"{channel}-{one}" for one in "abc"]
    answers = await batch(shared, lines_of([{"channel": names[n % 3], "data": n} for n in range(100)]))
    assert len(answers) == 100
    assert all(list(answer) == ["id", "durability"] for answer in answers)
    assert {answer["durability"] for answer in answers} == {"memory"}
    places = [position(answer["id"]) for answer in answers]
    assert places == list(range(places[0], places[0] + 100))
    for which, name in enumerate(names):
        assert await kept(shared, name) == list(range(which, 100, 3))


@pytest.mark.parametrize("transport", ["polling", "long-polling", "sse", "websocket"])
async def test_a_batch_is_heard_in_its_order(shared: ServerProcess, channel: str, transport: str) -> None:
    client = await connect(shared, transport, channel)
    writes = await raw.metric(shared, "tidings_writes_total")
    answers = await batch(shared, lines_of([{"channel": channel, "data": n} for n in range(100)]))
    messages = await client.take(100)
    assert [message["data"] for message in messages] == list(range(100))
    assert [message["id"] for message in messages] == [answer["id"] for answer in answers]
    if transport in ("sse", "websocket"):
        assert await raw.metric(shared, "tidings_writes_total") - writes == 1, "it goes out joined"


async def test_a_line_has_all_that_a_message_may_have(shared: ServerProcess, channel: str) -> None:
    data = b'{"price" : 101.50, "price":1e2,  "text":"\xc3\xa9\\u00e9"}'
    line = b'{"data":%b,"key":"ACME","event":"price","idempotency_key":"k 1","channel":"%b","more":1}\n'
    [refused] = await batch(shared, line % (data, channel.encode()))
    assert refused["code"] == "bad_key", "a key has no spaces"
    [receipt] = await batch(shared, line.replace(b"k 1", b"k-1") % (data, channel.encode()))
    answer = await ask(shared, "GET", f"/channels/{channel}?after=earliest")
    [message] = answer.json["messages"]
    assert list(message) == ["id", "channel", "time", "event", "key", "data"]
    assert (message["id"], message["event"], message["key"]) == (receipt["id"], "price", "ACME")
    assert b'"data":%b}' % data in answer.body, "the data is the publisher's, byte for byte"
    assert b"k-1" not in answer.body


async def test_line_ends_are_as_in_any_text(shared: ServerProcess, channel: str) -> None:
    line = b'{"channel":"%b","data":%%d}' % channel.encode()
    body = b"\r\n".join(line % n for n in range(3)) + b"\n\n  \n" + line % 3  # and none at the end
    assert len(await batch(shared, body)) == 4
    assert await kept(shared, channel) == [0, 1, 2, 3]


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n\t\n"])
async def test_an_empty_batch_is_answered_with_nothing(shared: ServerProcess, body: bytes) -> None:
    before = await raw.metric(shared, "tidings_published_total")
    assert await batch(shared, body) == []
    assert await raw.metric(shared, "tidings_published_total") == before


async def test_a_batch_may_come_in_chunks_and_behind_another(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    first, second = ([{"channel": channel, "data": n}] for n in (1, 2))
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (lines_of(first)[:9], lines_of(first)[9:])
    )
    head = raw.head_of("POST", "/publish", {**NDJSON, "Transfer-Encoding": "chunked"}, b"")
    body = lines_of(second)
    await wire.send(head + chunks + b"0\r\n\r\n" + raw.head_of("POST", "/publish", NDJSON, body) + body)
    receipts = [json.loads((await wire.answer()).body) for _ in range(2)]
    assert position(receipts[0]["id"]) < position(receipts[1]["id"])
    assert await kept(shared, channel) == [1, 2]


# --- a line that is wrong --------------------------------------------------------------------------

WRONG = {
    b"nonsense": "bad_json",
    b"[1]": "bad_json",
    b'{"data":1}': "bad_json",
    b'{"channel":"CHANNEL"}': "bad_json",
    b'{"channel":7,"data":1}': "bad_json",
    b'{"channel":"CHANNEL","data":NaN}': "bad_json",
    b'{"channel":"CHANNEL","data":"\xff"}': "bad_json",
    b'{"channel":"CHANNEL","data":"\\ud800"}': "bad_json",
    b'{"channel":"CHANNEL","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}": "bad_json",
    b'{"channel":"CHANNEL","data":1}{"channel":"CHANNEL","data":2}': "bad_json",
    b'{"channel":"a b","data":1}': "bad_channel",
    b'{"channel":"","data":1}': "bad_channel",
    b'{"channel":"a,b","data":1}': "bad_channel",
    b'{"channel":"prices.*","data":1}': "bad_channel",
    b'{"channel":"CHANNEL","data":1,"event":"gap"}': "bad_event",
    b'{"channel":"CHANNEL","data":1,"event":"a\\nb"}': "bad_event",
    b'{"channel":"CHANNEL","data":1,"key":""}': "bad_key",
    b'{"channel":"CHANNEL","data":1,"idempotency_key":"\\u00e9"}': "bad_key",
    b'{"channel":"CHANNEL","data":"' + b"x" * limits.BODY_BYTES + b'"}': "body_too_large",
}


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[:50].decode(errors="replace"))
async def test_a_wrong_line_is_refused_alone(shared: ServerProcess, channel: str, line: bytes) -> None:
    good = [{"channel": channel, "data": n} for n in range(2)]
    body = lines_of(good[:1]) + line.replace(b"CHANNEL", channel.encode()) + b"\n" + lines_of(good[1:])
    first, problem, last = await batch(shared, body)
    assert problem["code"] == WRONG[line]
    assert list(problem) == ["type", "title", "status", "code", "detail", "retry"]
    assert problem["status"] >= 400
    assert not problem["retry"]
    assert position(last["id"]) == position(first["id"]) + 1, "nothing of the wrong line was published"
    assert await kept(shared, channel) == [0, 1]


async def test_a_batch_of_wrong_lines_publishes_nothing(shared: ServerProcess) -> None:
    before = await raw.metric(shared, "tidings_published_total")
    answers = await batch(shared, b"x\n" * 100)
    assert [answer["code"] for answer in answers] == ["bad_json"] * 100
    assert await raw.metric(shared, "tidings_published_total") == before


# --- idempotency -----------------------------------------------------------------------------------


async def test_idempotency_is_each_line_s_own(shared: ServerProcess, channel: str) -> None:
    messages: list[dict[str, Any]] = [
        {"channel": channel, "data": 1, "idempotency_key": "a"},
        {"channel": channel, "data": 2, "idempotency_key": "b"},
        {"channel": channel, "data": 3},
        {"channel": channel, "data": 4, "idempotency_key": "a"},  # within one batch, too
    ]
    first = await batch(shared, lines_of(messages))
    assert ["duplicate" in answer for answer in first] == [False, False, False, True]
    assert first[3] == {**first[0], "duplicate": True}
    # The whole batch again, as after an answer that never came, with one that is new.
    again = await batch(shared, lines_of([*messages[:2], {"channel": channel, "data": 5}]))
    assert [answer.get("duplicate", False) for answer in again] == [True, True, False]
    assert [answer["id"] for answer in again[:2]] == [answer["id"] for answer in first[:2]]
    # The key is good over all ways to publish.
    single = await ask(shared, "POST", f"/channels/{channel}", {"Idempotency-Key": "b"}, b"6")
    assert (single.status, single.json["id"]) == (200, first[1]["id"])
    assert await kept(shared, channel) == [1, 2, 3, 5]


# --- what is refused as a whole --------------------------------------------------------------------


async def test_the_limits_of_a_batch(shared: ServerProcess, channel: str) -> None:
    line = lines_of([{"channel": channel, "data": 1}])
    assert len(await batch(shared, line * limits.BATCH_LINES)) == 100
    assert len(await batch(shared, (line * limits.BATCH_LINES).rstrip())) == 100
    published = await raw.metric(shared, "tidings_published_total")
    for body in (line * 101, (line * 101).rstrip(), b"\n" * (limits.BATCH_BYTES - 1)):
        answer = await ask(shared, "POST", "/publish", NDJSON, body)
        assert (answer.status, answer.json["code"]) == (413, "batch_too_large")
    # As large as it may be, and a byte more: that is refused before it is read.
    pad = "x" * (limits.BODY_BYTES - 100)
    full = lines_of([{"channel": channel, "data": pad}] * 4)
    full += b" " * (limits.BATCH_BYTES - len(full))
    assert len(await batch(shared, full)) == 4
    published += 4
    answer, closes = await raw.exchange(
        shared, raw.head_of("POST", "/publish", {**NDJSON, "Content-Length": str(limits.BATCH_BYTES + 1)})
    )
    assert (answer.status, answer.json["code"], closes) == (413, "body_too_large", True)
    assert await raw.metric(shared, "tidings_published_total") == published


async def test_a_megabyte_of_line_ends_costs_nothing(shared: ServerProcess) -> None:
    flood = b"\n" * 1_048_576
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(flood), flood)
    before = shared.memory()
    for headers, body in (
        ({"Content-Length": str(len(flood))}, flood),
        ({"Transfer-Encoding": "chunked"}, chunked),
    ):
        for _ in range(5):
            wire = await Wire.connect(shared)
            wire.writer.write(raw.head_of("POST", "/publish", {**NDJSON, **headers}) + body)
            answer = await wire.answer()
            assert (answer.status, answer.json["code"]) == (413, "body_too_large")
            wire.abort()
    assert shared.memory() - before < 4 * 1024 * 1024


@pytest.mark.parametrize(
    "kind",
    ["application/x-ndjson", "application/x-ndjson; charset=utf-8", "application/jsonl", "application/json"],
)
async def test_content_types_that_are_lines_of_json(shared: ServerProcess, channel: str, kind: str) -> None:
    line = lines_of([{"channel": channel, "data": 1}])
    assert len(await batch(shared, line, {"Content-Type": kind})) == 1
    assert len(await batch(shared, line, {})) == 1


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
async def test_other_content_types_are_refused(shared: ServerProcess, channel: str, kind: str) -> None:
    answer = await ask(
        shared, "POST", "/publish", {"Content-Type": kind}, lines_of([{"channel": channel, "data": 1}])
    )
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")
    assert answer.headers["accept"] == "application/x-ndjson"
    assert await kept(shared, channel) == []


async def test_a_compressed_batch_is_refused(shared: ServerProcess, channel: str) -> None:
    body = zlib.compress(lines_of([{"channel": channel, "data": 1}]))
    answer = await ask(shared, "POST", "/publish", {**NDJSON, "Content-Encoding": "deflate"}, body)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_encoding")


async def test_a_batch_is_posted_and_from_pages_of_our_own_only(shared: ServerProcess, channel: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await ask(shared, method, "/publish")
        assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
        assert "POST" in answer.headers["allow"]
    body = lines_of([{"channel": channel, "data": 1}])
    answer = await ask(shared, "POST", "/publish", {**NDJSON, "Origin": "https://evil.test"}, body)
    assert (answer.status, answer.json["code"]) == (403, "origin_refused")
    assert "access-control-allow-origin" not in answer.headers
    assert await kept(shared, channel) == []
