"""Many messages in few requests: against a real server, and a peer that loses and refuses on demand."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from kit import ServerProcess, serving
from tidings.client import BadAnswer, Publisher, Receipt, Refused, Unreachable, connection
from tidings.client.batches import Draft
from tidings.core.limits import BATCH_BYTES, BATCH_LINES, BODY_BYTES

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:190]


def kept(server: ServerProcess, *channels: str) -> bytes:
    """Return the server's own answer with all that is kept of these channels."""
    url = f"{server.url}/channels/{','.join(channels)}?after=earliest&limit=1000"
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body


def drafts(channel: str, *data: Any) -> list[Draft]:
    return [{"channel": channel, "data": one} for one in data]


class Peer:
    """A server that notes what it was asked, and says what a test wants it to say."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        # What to say instead of receipts, by the number of the request; None: nothing, and hang up.
        self.instead: dict[int, Callable[[], web.Response] | None] = {}

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append((request.path, body))
        number = len(self.asked)
        if number in self.instead:
            if (say := self.instead[number]) is not None:
                return say()
            assert request.transport is not None
            request.transport.abort()
        receipts = [{"id": f"{number}-{n}", "durability": "memory"} for n, _ in enumerate(body.splitlines())]
        if request.path != "/publish":
            return web.json_response(receipts[0], status=201)
        return web.Response(
            text="".join(json.dumps(receipt) + "\n" for receipt in receipts),
            content_type="application/x-ndjson",
        )

    def lines(self, number: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.asked[number][1].splitlines()]


async def publish_many(url: str, messages: Sequence[Draft]) -> list[Receipt | Refused]:
    def once() -> list[Receipt | Refused]:
        with Publisher(url, timeout=5.0) as publisher:
            return publisher.publish_many(messages)

    return await asyncio.to_thread(once)


def test_each_message_is_published_as_it_is_and_in_order(shared: ServerProcess, channel: str) -> None:
    one, two = channel + ".1", channel + ".2"
    messages: list[Draft] = [
        {"channel": one, "data": {"a": "ü", "b": [1, None]}},
        {"channel": two, "data": b' {"n" : 1.00}\n', "event": "price", "key": 'k"1'},
        # No line can hold this one as it is, so it goes by itself.
        {"channel": one, "data": b'{\n  "n": 2\n}', "event": "price", "key": "a&b"},
        {"channel": two, "data": "two\nlines"},
    ]
    with Publisher(shared.url) as publisher:
        receipts = publisher.publish_many(messages)
    answer = kept(shared, one, two)
    told = json.loads(answer)["messages"]
    assert [receipt.id for receipt in receipts if isinstance(receipt, Receipt)] == [m["id"] for m in told]
    assert [m["channel"] for m in told] == [one, two, one, two]
    assert [(m.get("event"), m.get("key")) for m in told] == [
        (None, None),
        ("price", 'k"1'),
        ("price", "a&b"),
        (None, None),
    ]
    for data in ('{"a":"ü","b":[1,null]}', '{"n" : 1.00}', '{\n  "n": 2\n}', '"two\\nlines"'):
        assert b'"data":%b}' % data.encode() in answer


def test_one_that_is_refused_does_not_hold_up_the_others(shared: ServerProcess, channel: str) -> None:
    messages: list[Draft] = [
        {"channel": channel, "data": 1},
        {"channel": "a b", "data": 2},
        {"channel": channel, "data": 3, "event": "ready"},
        {"channel": channel, "data": 4, "key": ""},
        # It would fit into our own JSON, and say something else there.
        {"channel": channel, "data": b'5,"key":"k"'},
        {"channel": channel, "data": b'"\\ud800"'},
        {"channel": channel, "data": "x" * 70_000},
        {"channel": channel, "data": 8},
    ]
    with Publisher(shared.url) as publisher:
        answers = publisher.publish_many(messages)
    assert [answer.code if isinstance(answer, Refused) else "" for answer in answers] == [
        "",
        "bad_channel",
        "bad_event",
        "bad_key",
        "bad_json",
        "bad_json",
        "body_too_large",
        "",
    ]
    assert [m["data"] for m in json.loads(kept(shared, channel))["messages"]] == [1, 8]


def test_a_message_that_only_its_line_makes_too_long_is_published(
    shared: ServerProcess, channel: str
) -> None:
    data = "x" * (BODY_BYTES - 2)
    with Publisher(shared.url) as publisher:
        answers = publisher.publish_many(drafts(channel, 1, data, 2))
    assert all(isinstance(answer, Receipt) for answer in answers)
    assert [m["data"] for m in json.loads(kept(shared, channel))["messages"]] == [1, data, 2]


def test_keys_of_the_callers_own_make_it_safe_to_give_all_again(shared: ServerProcess, channel: str) -> None:
    messages: list[Draft] = [{"channel": channel, "data": n, "idempotency_key": f"k{n}"} for n in range(150)]
    with Publisher(shared.url) as publisher:
        first = publisher.publish_many(messages[:120])
        again = publisher.publish_many(messages)
    ids = [answer.id for answer in again if isinstance(answer, Receipt)]
    assert ids[:120] == [answer.id for answer in first if isinstance(answer, Receipt)]
    assert [answer.duplicate for answer in again if isinstance(answer, Receipt)] == [True] * 120 + [
        False
    ] * 30
    assert [m["data"] for m in json.loads(kept(shared, channel))["messages"]] == list(range(150))


def test_threads_may_share_a_publisher_and_each_keeps_its_order(shared: ServerProcess, channel: str) -> None:
    with Publisher(shared.url) as publisher:
        threads = [
            threading.Thread(
                target=lambda who=who: publisher.publish_many(
                    drafts(channel, *([who, n] for n in range(150)))
                )
            )
            for who in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    told = [m["data"] for m in json.loads(kept(shared, channel))["messages"]]
    for who in range(3):
        assert [n for one, n in told if one == who] == list(range(150))


async def test_requests_are_as_few_as_their_bounds_allow(play: Play) -> None:
    peer = Peer()
    url = await play(peer.answer)
    answers = await publish_many(url, drafts("news", *range(250)))
    assert [len(peer.lines(n)) for n in range(3)] == [100, 100, 50]
    assert answers[0] == Receipt("1-0", "memory", duplicate=False)
    assert answers[-1] == Receipt("3-49", "memory", duplicate=False)
    peer.asked.clear()
    assert len(await publish_many(url, drafts("news", *["x" * 60_000] * 20))) == 20
    assert len(peer.asked) == 5
    assert all(len(body) <= BATCH_BYTES for _, body in peer.asked)
    assert BATCH_LINES == 100


async def test_a_line_has_all_that_belongs_to_its_message(play: Play) -> None:
    peer = Peer()
    messages: list[Draft] = [
        {"channel": "news", "data": "ü", "event": "x", "key": "k", "idempotency_key": "once"},
        {"channel": "news", "data": 1, "event": None},
        {"channel": "news", "data": 2},
    ]
    await publish_many(await play(peer.answer), messages)
    first, second, third = peer.lines(0)
    assert first == {"channel": "news", "data": "ü", "event": "x", "key": "k", "idempotency_key": "once"}
    # Where the caller gave no key, each message has one of its own.
    assert second.keys() == third.keys() == {"channel", "data", "idempotency_key"}
    assert second["idempotency_key"] != third["idempotency_key"]


async def test_one_message_is_no_batch_and_none_is_nothing(play: Play) -> None:
    peer = Peer()
    url = await play(peer.answer)
    assert await publish_many(url, []) == []
    assert await publish_many(url, drafts("news", 1)) == [Receipt("1-0", "memory", duplicate=False)]
    assert peer.asked == [("/channels/news", b"1")]


async def test_a_batch_whose_answer_was_lost_is_sent_whole_again_with_the_same_keys(play: Play) -> None:
    peer = Peer()
    peer.instead[1] = None
    receipts = await publish_many(await play(peer.answer), drafts("news", 1, 2))
    assert peer.asked[0] == peer.asked[1]
    assert receipts == [
        Receipt("2-0", "memory", duplicate=False),
        Receipt("2-1", "memory", duplicate=False),
    ]


async def test_what_was_answered_before_it_ended_half_way_is_not_lost(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BACKOFF_BASE", 0.01)
    peer = Peer()
    url = await play(peer.answer)
    for say, error in ((None, Unreachable), (lambda: web.Response(status=503), Refused)):
        peer.asked.clear()
        peer.instead = dict.fromkeys(range(2, 20), say)
        with pytest.raises(error) as ended:
            await publish_many(url, drafts("news", *range(250)))
        assert ended.value.answered == tuple(Receipt(f"1-{n}", "memory", duplicate=False) for n in range(100))


async def test_a_refusal_of_a_whole_batch_is_told_of_each_message(play: Play) -> None:
    peer = Peer()
    problem = {"code": "origin_refused", "status": 403, "detail": "No.", "retry": False}
    peer.instead[1] = lambda: web.json_response(problem, status=403, content_type="application/problem+json")
    answers = await publish_many(await play(peer.answer), drafts("news", *range(101)))
    assert all(isinstance(answer, Refused) and answer.code == "origin_refused" for answer in answers[:100])
    assert isinstance(answers[100], Receipt)


@pytest.mark.parametrize("body", ["", "<html>\n<html>\n", '{"id":"1-1","durability":"memory"}\n', "{}\n{}\n"])
async def test_an_answer_of_something_else_is_a_bad_answer(play: Play, body: str) -> None:
    peer = Peer()
    peer.instead[1] = lambda: web.Response(text=body)
    with pytest.raises(BadAnswer):
        await publish_many(await play(peer.answer), drafts("news", 1, 2))


@pytest.mark.parametrize(
    "odd",
    [
        {"channel": "news"},
        {"data": 1},
        {"channel": "news", "data": 1, "evnt": "x"},
        {"channel": "news", "data": float("nan")},
        {"channel": "news", "data": object()},
        "news",
    ],
)
def test_what_is_no_message_is_told_before_anything_is_sent(odd: Any) -> None:
    with Publisher("http://127.0.0.1:9") as publisher, pytest.raises((TypeError, ValueError)):
        publisher.publish_many([{"channel": "news", "data": 1}, odd])
