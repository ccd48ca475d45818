"""What a client says on its WebSocket, and what it is answered (spec §5.4)."""

import json
from itertools import pairwise

import pytest

from kit import ServerProcess
from raw import HANDSHAKE, PONG, TEXT, Wire, frame, head_of
from story.clients import Client, Publisher, WebSocket, connect, position


async def socket_on(server: ServerProcess, *channels: str, cursor: str | None = None) -> WebSocket:
    """Return an open WebSocket client."""
    client: Client = await connect(server, "websocket", *channels, cursor=cursor)
    assert isinstance(client, WebSocket)
    return client


async def test_ready_says_cursor_and_channels(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared, f"{channel}b", f"{channel}a")
    assert sorted(client.ready["channels"]) == [f"{channel}a", f"{channel}b"]
    assert client.ready["cursor"]


async def test_a_socket_may_begin_with_no_channel(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared)
    assert client.ready["channels"] == []
    answer = await client.subscribe(channel)
    assert answer["ok"]["channels"] == [channel]
    await Publisher(shared).say(channel, "first")
    assert await client.data(1) == ["first"]


@pytest.mark.parametrize("ref", [7, "seven", None, [1, {"a": None}], {"n": 1}, False, 0])
async def test_an_answer_repeats_the_ref_as_it_was(shared: ServerProcess, ref: object) -> None:
    client = await socket_on(shared)
    answer = await client.command("ping", {}, ref)
    assert answer == ({"ok": {}} if ref is None else {"ok": {}, "ref": ref})


async def test_publishing_on_a_socket(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared, channel)
    publish = {"channel": channel, "data": {"a": 1}, "event": "e", "key": "k"}
    await client.socket.command("publish", publish, 7)
    while len(client.items) < 2:
        await client.step()
    [ok] = [item.value for item in client.items if item.kind == "ok"]
    [message] = client.messages
    assert ok == {"ok": {"id": message["id"], "durability": "memory"}, "ref": 7}
    assert (message["event"], message["key"], message["data"]) == ("e", "k", {"a": 1})


async def test_the_data_of_a_publish_is_kept_byte_for_byte(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared, channel)
    data = '{ "b" : [1.0,\r\n\t"\\u00e9\u2028"] }'.encode()
    await client.socket.wire.send(
        frame(TEXT, b'{"publish":{"data": %b ,"channel":"%b"}}' % (data, channel.encode()))
    )
    await client.take(1)
    [message] = [item for item in client.items if item.kind == "message"]
    assert message.text.endswith(b',"data":' + data + b"}")


async def test_an_idempotency_key_on_a_socket_publishes_once(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared, channel)
    publish = {"channel": channel, "data": 1, "idempotency_key": "k"}
    first = await client.command("publish", publish, 1)
    second = await client.command("publish", publish, 2)
    assert second["ok"] == {**first["ok"], "duplicate": True}
    # The same key over HTTP is the same key.
    posted = await Publisher(shared).post(channel, 1, headers={"Idempotency-Key": "k"})
    assert (posted.status, posted.json) == (200, second["ok"])
    await client.command("ping", {})
    assert len(client.messages) == 1


async def test_subscribing_adds_channels(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    client = await socket_on(shared, f"{channel}a")
    await publisher.say(f"{channel}b", "before")
    answer = await client.subscribe(f"{channel}b", f"{channel}c")
    assert sorted(answer["ok"]["channels"]) == [f"{channel}{letter}" for letter in "abc"]
    for letter in "abc":
        await publisher.say(f"{channel}{letter}", letter)
    assert await client.data(3) == ["a", "b", "c"]


async def test_subscribing_later_with_an_older_cursor_brings_what_was_missed_and_nothing_twice(
    shared: ServerProcess, channel: str
) -> None:
    publisher = Publisher(shared)
    heard, late = f"{channel}-heard", f"{channel}-late"
    client = await socket_on(shared, heard)
    await publisher.say(heard, 1)
    [older] = await publisher.say(late, 2)
    await publisher.say(late, 3)
    await publisher.say(heard, 4)
    await publisher.say(late, 5)
    assert await client.data(2) == [1, 4]
    answer = await client.subscribe(late, after=older)
    assert position(answer["ok"]["cursor"]) <= position(older)
    await publisher.say(heard, 6)
    await publisher.say(late, 7)
    assert await client.data(4) == [3, 5, 6, 7]
    # The answer to a later command stands behind everything: nothing else has come.
    await client.command("ping", {})
    assert [m["data"] for m in client.messages] == [1, 4, 3, 5, 6, 7]
    assert client.gaps == []


async def test_a_cut_behind_a_late_subscription_loses_nothing(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    heard, late = f"{channel}-heard", f"{channel}-late"
    client = await socket_on(shared, heard)
    [start] = await publisher.say(heard, 1)
    await publisher.say(late, 2, 3)
    await publisher.say(heard, 4)
    await client.take(2)
    # Cut right behind the answer: the cursor that it gave is older than what was heard, so that the
    # missed messages still come. Ids that are known are dropped, as the protocol says.
    await client.subscribe(late, after=start)
    client.abort()
    again = await socket_on(shared, heard, late, cursor=client.cursor)
    assert await again.data(3) == [2, 3, 4]


@pytest.mark.parametrize("rewind", [2, "2"])
async def test_subscribing_with_a_rewind(shared: ServerProcess, channel: str, rewind: object) -> None:
    await Publisher(shared).say(channel, 1, 2, 3)
    client = await socket_on(shared, f"{channel}-other")
    await client.subscribe(channel, rewind=rewind)
    assert await client.data(2) == [2, 3]


async def test_subscribing_from_the_earliest_and_by_seconds(shared: ServerProcess, channel: str) -> None:
    await Publisher(shared).say(f"{channel}a", 1, 2)
    await Publisher(shared).say(f"{channel}b", 3)
    client = await socket_on(shared)
    await client.subscribe(f"{channel}a", after="earliest")
    assert await client.data(2) == [1, 2]
    await client.subscribe(f"{channel}b", rewind="60s")
    assert await client.data(1) == [3]


@pytest.mark.parametrize(("after", "reason"), [("garbage", "cursor"), ("0therlife-3", "epoch")])
async def test_subscribing_with_a_cursor_that_says_nothing_tells_a_gap_first(
    shared: ServerProcess, channel: str, after: str, reason: str
) -> None:
    await Publisher(shared).say(channel, "kept")
    client = await socket_on(shared, f"{channel}-other")
    answer = await client.subscribe(channel, after=after)
    assert "ok" in answer
    assert await client.data(1) == ["kept"]
    assert [item.kind for item in client.items] == ["gap", "message"]
    assert (client.gaps[0]["channel"], client.gaps[0]["reason"]) == (channel, reason)


async def test_subscribing_to_what_has_left_the_window_tells_a_gap(
    shared: ServerProcess, channel: str
) -> None:
    ids = await Publisher(shared).flood(channel, [b"%d" % n for n in range(1010)])
    client = await socket_on(shared, f"{channel}-other")
    await client.subscribe(channel, after=ids[0])
    assert (await client.take(1000))[0]["data"] == 10
    assert [item.kind for item in client.items[:2]] == ["gap", "message"]
    assert client.gaps == [{"channel": channel, "after": ids[0], "resumed": ids[9], "reason": "retention"}]


async def test_subscribing_again_to_a_channel_brings_nothing_twice(
    shared: ServerProcess, channel: str
) -> None:
    client = await socket_on(shared, channel)
    publisher = Publisher(shared)
    [first] = await publisher.say(channel, 1)
    await client.take(1)
    answer = await client.command("subscribe", {"channels": [channel], "after": "earliest"})
    assert answer["ok"]["channels"] == [channel]
    assert position(answer["ok"]["cursor"]) >= position(first)
    await publisher.say(channel, 2)
    assert await client.data(1) == [2]


async def test_unsubscribing_ends_a_channel_and_no_other(shared: ServerProcess, channel: str) -> None:
    publisher = Publisher(shared)
    client = await socket_on(shared, f"{channel}a", f"{channel}b")
    answer = await client.command("unsubscribe", {"channels": [f"{channel}a"]}, 2)
    assert answer == {"ok": {"channels": [f"{channel}b"]}, "ref": 2}
    await publisher.say(f"{channel}a", "unheard")
    await publisher.say(f"{channel}b", "heard")
    assert await client.data(1) == ["heard"]
    await client.command("unsubscribe", {"channels": [f"{channel}b"]})
    await publisher.say(f"{channel}b", "unheard")
    await client.command("ping", {})
    assert len(client.messages) == 1
    # And back, with what was missed.
    await client.subscribe(f"{channel}a", f"{channel}b", after=client.cursor)
    assert await client.data(1) == ["unheard"]


async def test_unsubscribing_what_is_not_subscribed_is_harmless(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared, channel)
    answer = await client.command("unsubscribe", {"channels": [f"{channel}-other"]})
    assert answer["ok"]["channels"] == [channel]


async def test_errors_repeat_the_ref_and_leave_the_socket_open(shared: ServerProcess, channel: str) -> None:
    client = await socket_on(shared, channel)
    refusals = [
        ("fly", {}, "unknown_command"),
        ("subscribe", {"channels": ["a b"]}, "bad_channel"),
        ("subscribe", {"channels": []}, "bad_command"),
        ("subscribe", {"channels": [f"c{n}" for n in range(200)]}, "too_many_channels"),
        ("subscribe", {"channels": 7}, "bad_command"),
        ("subscribe", {"channels": ["x"], "rewind": "soon"}, "bad_parameter"),
        ("publish", {"channel": channel}, "bad_command"),
        ("publish", {"channel": "a*", "data": 1}, "bad_channel"),
        ("publish", {"channel": channel, "data": 1, "event": "ready"}, "bad_event"),
    ]
    for number, (word, value, code) in enumerate(refusals):
        answer = await client.command(word, value, number)
        assert list(answer) == ["error", "ref"]
        assert answer["error"]["code"] == code, answer
        assert set(answer["error"]) == {"type", "title", "status", "code", "detail", "retry"}
    await Publisher(shared).say(channel, "still here")
    assert await client.data(1) == ["still here"]


async def test_commands_that_come_in_one_write_are_answered_in_order(
    shared: ServerProcess, channel: str
) -> None:
    client = await socket_on(shared)
    frames = [
        frame(TEXT, json.dumps({"publish": {"channel": channel, "data": n}, "ref": n}).encode())
        for n in range(500)
    ]
    await client.socket.wire.send(b"".join(frames))
    while len(client.items) < 500:
        await client.step()
    assert [item.value["ref"] for item in client.items] == list(range(500))
    ids = [position(item.value["ok"]["id"]) for item in client.items]
    assert all(one < other for one, other in pairwise(ids))


async def test_a_command_in_fragments_is_one_command(shared: ServerProcess) -> None:
    client = await socket_on(shared)
    whole = '{"ping":{},"ref":"é👋"}'.encode()
    pieces = [whole[n : n + 1] for n in range(len(whole))]
    frames = [frame(TEXT if n == 0 else 0, piece, fin=n == len(pieces) - 1) for n, piece in enumerate(pieces)]
    # With a ping between two of them, and the bytes one by one.
    frames.insert(3, frame(9, b"between"))
    for byte in b"".join(frames):
        await client.socket.wire.send(bytes([byte]))
    # The pong may stand before or behind the answer.
    answers = dict([await client.socket.frame(), await client.socket.frame()])
    assert answers[PONG] == b"between"
    assert json.loads(answers[TEXT]) == {"ok": {}, "ref": "é👋"}


async def test_the_subprotocol_is_chosen_where_it_is_offered(shared: ServerProcess, channel: str) -> None:
    for offered, chosen in (
        (None, None),
        ("tidings.v1", "tidings.v1"),
        ("x, tidings.v1", "tidings.v1"),
        ("x", None),
    ):
        wire = await Wire.connect(shared)
        headers = dict(HANDSHAKE) if offered is None else {**HANDSHAKE, "Sec-WebSocket-Protocol": offered}
        await wire.send(head_of("GET", f"/channels/{channel}", headers))
        answer = await wire.head()
        assert answer.status == 101
        assert answer.headers.get("sec-websocket-protocol") == chosen
        assert "sec-websocket-extensions" not in answer.headers
