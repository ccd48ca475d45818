"""Bad frames get the close code that fits, and nobody else notices (RFC 6455)."""

import asyncio
import contextlib
import json
import sys

import pytest

import raw
from kit import ServerProcess
from raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Socket, Wire, ask, frame
from tidings.wire import web_socket


async def opened(server: ServerProcess, target: str = "/channels") -> Socket:
    """Return an open socket behind its `ready`."""
    socket = await Socket.open(await Wire.connect(server), target)
    assert "ready" in json.loads(await socket.said())
    return socket


def many(count: int, first: bytes, rest: bytes) -> bytes:
    """Return a text message in `count` fragments that does not end."""
    return frame(TEXT, first, fin=False) + frame(CONTINUATION, rest, fin=False) * (count - 1)


ABUSES = {
    "an unmasked frame": (frame(TEXT, b'{"ping":{}}', masked=False), 1002),
    "an unmasked close": (frame(CLOSE, b"\x03\xe8", masked=False), 1002),
    "reserved bit 1": (frame(TEXT, b"{}", reserved=4), 1002),
    "reserved bit 2": (frame(TEXT, b"{}", reserved=2), 1002),
    "reserved bit 3": (frame(PING, reserved=1), 1002),
    "reserved data opcode 3": (frame(3, b"x"), 1002),
    "reserved data opcode 7": (frame(7, b"x"), 1002),
    "reserved control opcode 11": (frame(11), 1002),
    "reserved control opcode 15": (frame(15), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a long close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "a fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a stray continuation": (frame(CONTINUATION, b"x"), 1002),
    "a stray continuation that goes on": (frame(CONTINUATION, b"x", fin=False), 1002),
    "a text within a text": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
    "a message over 64 KiB": (frame(TEXT, b" " * 65_537), 1009),
    "a message over 64 KiB, its head only": (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"mask", 1009),
    "a length with its highest bit set": (b"\x81\xff" + b"\xff" * 8 + b"mask", {1002, 1009}),
    "over 64 KiB in fragments": (
        frame(TEXT, b" " * 40_000, fin=False) + frame(CONTINUATION, b" " * 40_000),
        1009,
    ),
    "1,025 fragments": (many(1025, b"x", b"x"), 1009),
    "a run of empty fragments": (many(100, b"x", b""), 1009),
    "only empty fragments": (many(100, b"", b""), 1009),
    "bad UTF-8": (frame(TEXT, b"\xff"), 1007),
    "an encoded surrogate": (frame(TEXT, b'"\xed\xa0\x80"'), 1007),
    "half a character": (frame(TEXT, b"\xe2\x82"), 1007),
    "half a character at the end of fragments": (
        frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82"),
        1007,
    ),
    "bad UTF-8 split over fragments": (
        frame(TEXT, b'"\xe2\x82', fin=False) + frame(CONTINUATION, b'\xff"'),
        1007,
    ),
    "binary": (frame(BINARY, b'{"ping":{}}'), 1003),
    "binary in fragments": (frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"x"), 1003),
    "empty binary": (frame(BINARY), 1003),
    "close code of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close with bad UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), {1002, 1007}),
    **{
        f"close code {code}": (frame(CLOSE, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
}


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(("data", "wanted"), ABUSES.values(), ids=ABUSES.keys())
async def test_a_broken_frame_closes_with_its_code(
    shared: ServerProcess, data: bytes, wanted: int | set[int]
) -> None:
    socket = await opened(shared)
    # What follows is not looked at (RFC 6455 §7.1.7).
    late = frame(TEXT, b'{"publish":{"channel":"late","data":1}}')
    await socket.wire.send(data + late)
    code = await socket.closed()
    assert code in (wanted if isinstance(wanted, set) else {wanted})
    assert (await ask(shared, "GET", "/channels/late?after=earliest")).json["messages"] == []


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(
    "name", ["a stray continuation", "1,025 fragments", "bad UTF-8 split over fragments"]
)
async def test_a_broken_frame_byte_by_byte_closes_with_the_same_code(
    shared: ServerProcess, name: str
) -> None:
    data, wanted = ABUSES[name]
    socket = await opened(shared)
    for byte in data:
        socket.wire.writer.write(bytes([byte]))
    assert await socket.closed() == wanted


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(
    ("last", "code"),
    [
        (frame(CLOSE, b"\x03\xe8"), 1000),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(BINARY, b"x"), 1003),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b" " * 65_537), 1009),
    ],
    ids=["close", "stray continuation", "binary", "bad UTF-8", "too big"],
)
async def test_commands_in_front_of_what_closes_are_answered_first_and_none_after(
    shared: ServerProcess, channel: str, last: bytes, code: int
) -> None:
    socket = await opened(shared)
    publish = b'{"publish":{"channel":"%b","data":1}}' % channel.encode()
    await socket.wire.send(frame(TEXT, publish) + last + frame(TEXT, publish))
    assert (await socket.said()).startswith(b'{"ok":')
    assert await socket.closed() == code
    messages = (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"]
    assert len(messages) == 1


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
async def test_a_close_is_answered_with_the_same_code(shared: ServerProcess, code: int) -> None:
    socket = await opened(shared)
    await socket.wire.send(frame(CLOSE, code.to_bytes(2, "big") + "grüße".encode()))
    assert await socket.closed() == code


async def test_a_close_without_a_code_is_answered(shared: ServerProcess) -> None:
    socket = await opened(shared)
    await socket.wire.send(frame(CLOSE))
    assert await socket.frame() == (CLOSE, b"")
    assert await socket.wire.rest() == b""


async def test_a_close_in_the_middle_of_a_message_is_answered(shared: ServerProcess) -> None:
    socket = await opened(shared)
    await socket.wire.send(frame(TEXT, b"{", fin=False) + frame(CLOSE, b"\x03\xe8"))
    # 1002 is the library's word for a message that never ends; both say goodbye.
    assert await socket.closed() in (1000, 1002)


async def test_pings_are_answered_in_order_and_pongs_ignored(shared: ServerProcess) -> None:
    socket = await opened(shared)
    await socket.wire.send(
        frame(PONG, b"unasked") + frame(PING, b"1") + frame(PING, b"x" * 125) + frame(PING) + frame(PONG)
    )
    assert [await socket.frame() for _ in range(3)] == [(PONG, b"1"), (PONG, b"x" * 125), (PONG, b"")]


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b'{"ping":{}' + b" " * 65_525 + b"}"),
        frame(TEXT, b'{"ping":{}', fin=False)
        + frame(CONTINUATION, b" ", fin=False) * 1022
        + frame(CONTINUATION, b"}"),
        frame(TEXT, b"", fin=False)
        + frame(CONTINUATION, b"", fin=False)
        + frame(CONTINUATION, b'{"ping":{}}'),
    ],
    ids=["64 KiB", "1,024 fragments", "a few empty fragments"],
)
async def test_what_is_just_within_the_limits_is_taken(shared: ServerProcess, data: bytes) -> None:
    socket = await opened(shared)
    await socket.wire.send(data)
    assert json.loads(await socket.said()) == {"ok": {}}


BAD_COMMANDS = {
    "no JSON": (b"hello", "bad_command"),
    "empty": (b"", "bad_command"),
    "a list": (b'["ping"]', "bad_command"),
    "a number": (b"7", "bad_command"),
    "null": (b"null", "bad_command"),
    "no word": (b"{}", "bad_command"),
    "only a ref": (b'{"ref":1}', "bad_command"),
    "two words": (b'{"ping":{},"publish":{}}', "bad_command"),
    "an unknown word": (b'{"fly":{}}', "unknown_command"),
    "a word in capitals": (b'{"PING":{}}', "unknown_command"),
    "a server's word": (b'{"message":{}}', "unknown_command"),
    "a publish of nothing": (b'{"publish":{}}', "bad_command"),
    "a publish of a list": (b'{"publish":[1]}', "bad_command"),
    "a publish without data": (b'{"publish":{"channel":"a"}}', "bad_command"),
    "a channel that is a number": (b'{"publish":{"channel":1,"data":1}}', "bad_command"),
    "a publish to a bad name": (b'{"publish":{"channel":"a b","data":1}}', "bad_channel"),
    "a publish to a list": (b'{"publish":{"channel":["a"],"data":1}}', "bad_command"),
    "NaN": (b'{"publish":{"channel":"a","data":NaN}}', {"bad_command", "bad_json"}),
    "a lone surrogate": (rb'{"publish":{"channel":"a","data":"\ud800"}}', {"bad_command", "bad_json"}),
    "data nested 10,000 deep": (
        b'{"publish":{"channel":"a","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
        {"bad_command", "bad_json"},
    ),
    "a ref nested 10,000 deep": (b'{"ping":{},"ref":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "bad_command"),
    "a ref of 200 bytes": (b'{"ping":{},"ref":"' + b"x" * 200 + b'"}', "bad_command"),
    "an event that is reserved": (b'{"publish":{"channel":"a","data":1,"event":"ready"}}', "bad_event"),
    "an event with a line end": (rb'{"publish":{"channel":"a","data":1,"event":"a\nb"}}', "bad_event"),
    "an idempotency key that is empty": (
        b'{"publish":{"channel":"a","data":1,"idempotency_key":""}}',
        "bad_key",
    ),
    "a subscribe of numbers": (b'{"subscribe":{"channels":[1]}}', "bad_command"),
    "a subscribe of nothing": (b'{"subscribe":{}}', "bad_command"),
    "a rewind that is none": (b'{"subscribe":{"channels":["a"],"rewind":"soon"}}', "bad_parameter"),
    "an after that is a number": (b'{"subscribe":{"channels":["a"],"after":5}}', "bad_command"),
    "too many channels": (
        json.dumps({"subscribe": {"channels": [f"c{n}" for n in range(1000)]}}).encode(),
        "too_many_channels",
    ),
    "an unsubscribe from a wildcard": (b'{"unsubscribe":{"channels":["*"]}}', "bad_channel"),
}


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(("command", "codes"), BAD_COMMANDS.values(), ids=BAD_COMMANDS.keys())
async def test_a_bad_command_is_an_error_and_the_socket_goes_on(
    shared: ServerProcess, command: bytes, codes: str | set[str]
) -> None:
    socket = await opened(shared)
    await socket.wire.send(frame(TEXT, command) + frame(TEXT, b'{"ping":{},"ref":"next"}'))
    error = json.loads(await socket.said())
    assert error["error"]["code"] in (codes if isinstance(codes, set) else {codes}), error
    assert error["error"]["retry"] is False
    assert json.loads(await socket.said()) == {"ok": {}, "ref": "next"}


@pytest.mark.usefixtures("neighbours")
async def test_after_ten_errors_the_socket_is_closed_for_good(shared: ServerProcess) -> None:
    socket = await opened(shared)
    await socket.wire.send(frame(TEXT, b'{"fly":{}}') * 20)
    for _ in range(10):
        assert json.loads(await socket.said())["error"]["code"] == "unknown_command"
    assert await socket.closed() == 4500


@pytest.mark.usefixtures("neighbours")
async def test_megabytes_of_tiny_fragments_cost_no_memory(shared: ServerProcess) -> None:
    sockets = [await opened(shared) for _ in range(20)]
    before = shared.memory()
    for socket in sockets:
        socket.wire.writer.write(many(100_000, b"x", b"x"))
    for socket in sockets:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # reset while still sending
            assert await socket.closed() == 1009
    assert shared.memory() - before < 8 * 1024 * 1024


@pytest.mark.usefixtures("neighbours")
async def test_a_flood_of_pings_that_are_not_read_is_bounded(shared: ServerProcess) -> None:
    wire = await Wire.connect(shared, receive_buffer=4096)
    socket = await Socket.open(wire)
    before = shared.memory()
    wire.writer.write(frame(PING, b"x" * 125) * 200_000)  # 26 MB
    await raw.until_it_sticks(wire, shared)
    assert shared.memory() - before < 4 * 1024 * 1024
    socket.wire.abort()


@pytest.mark.usefixtures("neighbours")
async def test_small_commands_with_large_answers_that_are_not_read_are_bounded(
    shared: ServerProcess,
) -> None:
    """The batch amplification: 23 bytes in, 26 kB out."""
    wire = await Wire.connect(shared, receive_buffer=4096)
    socket = await Socket.open(wire)
    names = [f"{n:03}" + "x" * 190 for n in range(128)]
    await socket.command("subscribe", {"channels": names})
    while b'"ok"' not in await socket.said():
        pass
    before = shared.memory()
    wire.writer.write(frame(TEXT, json.dumps({"unsubscribe": ["x"]}).encode()) * 100_000)
    await raw.until_it_sticks(wire, shared)
    assert shared.memory() - before < 4 * 1024 * 1024
    wire.abort()


async def test_subscribing_and_unsubscribing_thousands_of_times_leaves_nothing_behind(
    shared: ServerProcess,
) -> None:
    socket = await opened(shared)

    async def rounds(count: int) -> None:
        for start in range(0, count, 100):
            pairs = [
                frame(TEXT, json.dumps({word: {"channels": [f"many-{n}"]}}).encode())
                for n in range(start, start + 100)
                for word in ("subscribe", "unsubscribe")
            ]
            await socket.wire.send(b"".join(pairs))
            for _ in pairs:
                assert "ok" in json.loads(await socket.said())

    await rounds(2_000)
    before = shared.memory()
    cohorts = await raw.metric(shared, "tidings_cohorts")
    await rounds(10_000)
    assert shared.memory() - before < 1024 * 1024
    assert await raw.metric(shared, "tidings_cohorts") == cohorts


async def test_a_socket_that_is_cut_within_a_frame_is_forgotten(shared: ServerProcess, channel: str) -> None:
    live = await raw.metric(shared, "tidings_live_subscribers")
    socket = await opened(shared, f"/channels/{channel}")
    await raw.until_metric(shared, "tidings_live_subscribers", live + 1)
    await socket.wire.send(frame(TEXT, b'{"publish"')[:5])
    socket.wire.abort()
    await raw.until_metric(shared, "tidings_live_subscribers", live)


@pytest.mark.parametrize("word", ["publish", "ping"])
def test_a_ref_that_waits_for_its_answer_does_not_keep_the_whole_frame(word: str) -> None:
    payload = b'{"%b":{"channel":"news","data":"%b"},"ref":1}' % (word.encode(), b"x" * 1000)
    holders = sys.getrefcount(payload)
    ref = web_socket.command(payload).ref
    assert bytes(ref or b"") == b"1"
    assert sys.getrefcount(payload) == holders
