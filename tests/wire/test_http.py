"""Bad HTTP gets a clear answer, and nobody else notices (RFC 9112, RFC 9110)."""

import asyncio
import contextlib
import time

import pytest

import raw
from kit import ServerProcess
from raw import HANDSHAKE, Wire, ask, exchange, head_of
from tidings.core.errors import CODES, Refusal
from tidings.wire import http

HEAD = b"GET /channels/%b HTTP/1.1\r\nHost: tidings.test\r\n"


def get(*fields: bytes, target: bytes = b"/channels/news", line_end: bytes = b"\r\n") -> bytes:
    """Return a GET with these header lines, and no other."""
    return line_end.join((b"GET %b HTTP/1.1" % target, *fields, b"", b""))


HOST = b"Host: tidings.test"
REFUSED_AND_CLOSED = {
    "a head over 16 KiB": (get(HOST, *[b"X-%d: " % n + b"v" * 1000 for n in range(20)]), 431),
    "a header over 8 KiB": (get(HOST, b"X: " + b"v" * 8200), 431),
    "a header that never ends": (b"GET / HTTP/1.1\r\nX: " + b"v" * 70_000, 431),
    "a header name over 8 KiB": (get(HOST, b"X" * 8200 + b": v"), 431),
    "more than 128 headers": (get(HOST, *[b"X-%d: v" % n for n in range(128)]), 431),
    "one header repeated 200 times": (get(HOST, *[b"X: v"] * 200), 431),
    "a URI over 8 KiB": (get(HOST, target=b"/channels/" + b"x" * 8200), 414),
    "a query over 8 KiB": (get(HOST, target=b"/channels/x?a=" + b"x" * 8200), 414),
    "Content-Length with Transfer-Encoding": (
        get(HOST, b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "Transfer-Encoding with Content-Length": (
        get(HOST, b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n",
        400,
    ),
    "two lengths that differ": (get(HOST, b"Content-Length: 3", b"Content-Length: 4") + b"abc", 400),
    "two lengths that agree": (get(HOST, b"Content-Length: 3", b"Content-Length: 3") + b"abc", 400),
    "a list of lengths": (get(HOST, b"Content-Length: 3, 3") + b"abc", 400),
    "a signed length": (get(HOST, b"Content-Length: +3") + b"abc", 400),
    "a negative length": (get(HOST, b"Content-Length: -3") + b"abc", 400),
    "a hexadecimal length": (get(HOST, b"Content-Length: 0x3") + b"abc", 400),
    "a length beyond 64 bits": (get(HOST, b"Content-Length: 99999999999999999999999"), 400),
    "chunked is not the last coding": (get(HOST, b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n", 400),
    "a chunk size that is none": (get(HOST, b"Transfer-Encoding: chunked") + b"zz\r\n", 400),
    "a bare LF after the request line": (b"GET / HTTP/1.1\n" + HOST + b"\r\n\r\n", 400),
    "a bare LF after a header": (b"GET / HTTP/1.1\r\n" + HOST + b"\nX: v\r\n\r\n", 400),
    "bare LFs": (get(HOST, line_end=b"\n"), 400),
    "a bare CR in a header": (get(HOST, b"X: a\rb"), 400),
    "a folded header": (get(HOST, b"X: a", b" b"), 400),
    "a NUL in a header": (get(HOST, b"X: a\0b"), 400),
    "a NUL in a header's name": (get(HOST, b"X\0: a"), 400),
    "a NUL in the target": (get(HOST, target=b"/channels/a\0b"), 400),
    "a space before the colon": (get(HOST, b"X : v"), 400),
    "no Host": (get(), 400),
    "two Hosts": (get(HOST, HOST), 400),
    "a Host with a space": (get(b"Host: a b"), 400),
    "a list of Hosts": (get(b"Host: a, b"), 400),
    "a Host with a path": (get(b"Host: a/b"), 400),
    "a Host with a user": (get(b"Host: u@b"), 400),
    "a Host whose port is none": (get(b"Host: a:x"), 400),
    "chunks in HTTP/1.0": (
        b"POST /channels/news HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
        400,
    ),
    "not HTTP": (b"hello, world\r\n\r\n", {400, 405}),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40, {400, 405}),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a version that is not spoken": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "a version that there is not": (b"GET / HTTP/3.7\r\nHost: x\r\n\r\n", 400),
    "a body over 64 KiB": (
        b"POST /channels/news HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n",
        413,
    ),
    "an upgrade with a body": (
        get(HOST, *[f"{k}: {v}".encode() for k, v in HANDSHAKE.items()], b"Content-Length: 3") + b"abc",
        400,
    ),
    "an upgrade with a chunked body": (
        get(HOST, *[f"{k}: {v}".encode() for k, v in HANDSHAKE.items()], b"Transfer-Encoding: chunked")
        + b"0\r\n\r\n",
        400,
    ),
}


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(("data", "status"), REFUSED_AND_CLOSED.values(), ids=REFUSED_AND_CLOSED.keys())
async def test_what_is_malformed_is_refused_and_the_connection_closed(
    shared: ServerProcess, data: bytes, status: int | set[int]
) -> None:
    answer, closed = await exchange(shared, data)
    assert answer.status in (status if isinstance(status, set) else {status}), answer
    assert closed
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == answer.status


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(
    "data", [value[0] for value in REFUSED_AND_CLOSED.values()], ids=REFUSED_AND_CLOSED.keys()
)
async def test_what_follows_a_malformed_request_is_not_served(
    shared: ServerProcess, channel: str, data: bytes
) -> None:
    smuggled = b"POST /channels/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1" % channel.encode()
    wire = await Wire.connect(shared)
    await wire.send(data + smuggled)
    await wire.rest()
    # A slow server would have served it by now: the connection is at its end.
    assert (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"] == []


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize("name", [name for name, (data, _) in REFUSED_AND_CLOSED.items() if HOST in data])
async def test_what_is_malformed_is_refused_also_on_a_connection_that_has_behaved(
    shared: ServerProcess, channel: str, name: str
) -> None:
    """The same header section again and again may be taken a shorter way; that way is no laxer."""
    data, status = REFUSED_AND_CLOSED[name]
    wire = await Wire.connect(shared)
    good = get(HOST, target=f"/channels/{channel}".encode())
    for _ in range(3):
        await wire.send(good)
        assert (await wire.answer()).status == 200
    # In one write with good requests in front: those are answered first.
    await wire.send(good * 2 + data)
    for _ in range(2):
        assert (await wire.answer()).status == 200
    answer = await wire.answer()
    assert answer.status == status, answer
    assert await wire.rest() == b""


async def test_equal_header_sections_of_different_requests_are_not_confused(
    shared: ServerProcess, channel: str
) -> None:
    wire = await Wire.connect(shared)
    section = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n"
    path = f"/channels/{channel}".encode()
    for number in range(6):
        # The body looks like the next request, in pieces and together with it.
        body = b"GET /" if number % 2 else b"POST "
        request = b"POST " + path + section + body
        cut = number * 20
        await wire.send(request[:cut])
        await wire.send(request[cut:] + b"GET " + path + b"?after=earliest" + section + b"12345")
        assert (await wire.answer()).status == 201
        assert (await wire.answer()).status == 200
    # Without its body the second is not a request yet.
    await wire.send(b"POST " + path + section + b"1234")
    await wire.send(b"5GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.answer()).status == 201
    assert (await wire.answer()).json["name"] == "tidings"
    messages = (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"]
    assert [m["data"] for m in messages] == ["POST ", "GET /"] * 3 + ["12345"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW", "get"])
@pytest.mark.parametrize("path", ["/channels/news", "/livez"])
async def test_an_unknown_method_is_405_with_allow(shared: ServerProcess, method: str, path: str) -> None:
    answer = await ask(shared, method, path)
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    allowed = {word.strip() for word in answer.headers["allow"].split(",")}
    assert {"GET", "HEAD", "OPTIONS"} <= allowed
    assert ("POST" in allowed) == path.startswith("/channels")


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "BREW"])
async def test_a_batch_is_only_posted(shared: ServerProcess, method: str) -> None:
    assert (await ask(shared, method, "/publish")).headers["allow"] == "POST, OPTIONS"


BAD_BODIES = {
    "no content type that is known": (b"<a/>", {"Content-Type": "application/xml"}, 415),
    "a form": (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "bytes": (b"1", {"Content-Type": "application/octet-stream"}, 415),
    "Latin-1 text": (b"\xe9", {"Content-Type": "text/plain; charset=iso-8859-1"}, 415),
    "UTF-16 JSON": ("1".encode("utf-16"), {"Content-Type": "application/json; charset=utf-16"}, 415),
    "gzip": (b"\x1f\x8b\x08\x00", {"Content-Encoding": "gzip"}, 415),
    "deflate": (b"1", {"Content-Encoding": "deflate"}, 415),
    "nothing": (b"", {}, 400),
    "white space": (b" \n", {}, 400),
    "half of JSON": (b'{"a":', {}, 400),
    "two values": (b"1 2", {}, 400),
    "NaN": (b"NaN", {}, 400),
    "NaN within": (b"[1,NaN]", {}, 400),
    "Infinity": (b"-Infinity", {}, 400),
    "invalid UTF-8": (b'"\xff"', {}, 400),
    "an overlong encoding": (b'"\xc0\x80"', {}, 400),
    "an encoded surrogate": (b'"\xed\xa0\x80"', {}, 400),
    "a lone high surrogate": (rb'"\ud800"', {}, 400),
    "a lone low surrogate": (rb'["\udc00x"]', {}, 400),
    "two high surrogates": (rb'"\ud800\ud800"', {}, 400),
    "a lone surrogate in a key": (rb'{"\ud800":1}', {}, 400),
    "nested 10,000 deep": (b"[" * 10_000 + b"]" * 10_000, {}, 400),
    "objects 10,000 deep": (b'{"":' * 10_000 + b"1" + b"}" * 10_000, {}, 400),
    "a raw control character": (b'"a\x01b"', {}, 400),
    "a raw line end in a string": (b'"a\nb"', {}, 400),
    "a byte order mark in front": (b"\xef\xbb\xbf1", {}, 400),
    "a leading zero": (b"01", {}, 400),
    "single quotes": (b"'a'", {}, 400),
    "a trailing comma": (b"[1,]", {}, 400),
    "a comment": (b"[1/**/]", {}, 400),
    "invalid UTF-8 text": (b"\xff", {"Content-Type": "text/plain"}, 400),
}


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(("body", "headers", "status"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_body_that_is_no_data_is_refused(
    shared: ServerProcess, channel: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await ask(
        shared, "POST", f"/channels/{channel}", {"Content-Type": "application/json", **headers}, body
    )
    assert answer.status == status, answer
    assert answer.json["retry"] is False
    assert (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"] == []


async def test_a_body_of_64_kib_is_taken(shared: ServerProcess, channel: str) -> None:
    answer = await ask(shared, "POST", f"/channels/{channel}", body=b'"%b"' % (b"x" * 65_534))
    assert answer.status == 201


@pytest.mark.parametrize("coding", ["gzip, chunked", "x-new, chunked", "identity, chunked"])
async def test_a_transfer_coding_that_is_not_understood_is_refused(
    shared: ServerProcess, channel: str, coding: str
) -> None:
    # RFC 9112 §6.1. Taken as it stands, the message would be something else than was sent.
    head = head_of("POST", f"/channels/{channel}", {"Transfer-Encoding": coding}, b"")
    answer, _ = await exchange(shared, head + b"1\r\n1\r\n0\r\n\r\n")
    assert answer.status in (400, 415, 501)
    assert (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"] == []


async def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(
    shared: ServerProcess, channel: str
) -> None:
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    data = head_of("POST", f"/channels/{channel}", {"Transfer-Encoding": "chunked"}, b"") + chunk * 3
    answer, closed = await exchange(shared, data)
    assert (answer.status, closed) == (413, True)


@pytest.mark.usefixtures("neighbours")
async def test_chunks_of_one_byte_are_bounded_by_the_same_limit(shared: ServerProcess, channel: str) -> None:
    before = shared.memory()
    head = head_of("POST", f"/channels/{channel}", {"Transfer-Encoding": "chunked"}, b"")
    wire = await Wire.connect(shared)
    await wire.send(head)
    answer = asyncio.create_task(wire.rest())  # the server does not wait for ever for who reads it late
    with contextlib.suppress(ConnectionError):
        for _ in range(20):
            await wire.send(b"1\r\n \r\n" * 10_000)
            await asyncio.sleep(0)
    assert b" 413 " in await answer
    assert shared.memory() - before < 8 * 1024 * 1024


NAMES = {
    "a space": "a%20b",
    "a control character": "a%0Ab",
    "a delete": "a%7Fb",
    "a NUL": "a%00b",
    "an encoded slash": "a%2Fb",
    "an encoded backslash": "a%5Cb",
    "a slash": "a/b",
    "a wildcard": "chat.*",
    "a deep wildcard": "chat.**",
    "a dot segment": "..",
    "an encoded dot segment": "%2e%2e",
    "an empty name": "",
    "an empty name in a list": "a,,b",
    "a comma at the end": "a,",
    "201 bytes": "x" * 201,
    "not ASCII": "%C3%A9",
    "not UTF-8": "%FF",
    "a broken escape": "a%zz",
    "1,000 channels": ",".join(f"c{n}" for n in range(1000)),
    "129 channels": ",".join(f"c{n}" for n in range(129)),
    "a kilobyte of commas": "," * 1000,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_bad_channel_name_is_refused(shared: ServerProcess, method: str, name: str) -> None:
    answer = await ask(shared, method, f"/channels/{name}", body=b"1" if method == "POST" else None)
    assert answer.status in ((400, 404) if "/" in name or "%" in name or ".." in name else (400,)), answer
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "name", ["x" * 200, "AZaz09._~:-", ".a", "a..b", ",".join(f"c{n}" for n in range(128))]
)
async def test_a_good_channel_name_is_taken(shared: ServerProcess, name: str) -> None:
    assert (await ask(shared, "GET", f"/channels/{name}")).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "after=%FF",
        "wait=soon",
        "wait=-1",
        "wait=nan",
        "limit=many",
        "limit=1.5",
        "limit=1e3",
        "rewind=soon",
        "rewind=-1",
        "rewind=1m",
        "rewind=",
        "after=earliest&after=earliest",
        "&".join(f"a{n}=1" for n in range(40)),
    ],
)
async def test_a_parameter_that_has_no_such_value_is_refused(shared: ServerProcess, query: str) -> None:
    answer = await ask(shared, "GET", f"/channels/news?{query}")
    assert answer.status == 400
    assert answer.json["detail"]


@pytest.mark.parametrize(
    "target",
    ["/nothing", "/channelsx", "/web/../version", "/web/%2e%2e/version", "//version", "/web/", "/version/"],
)
async def test_what_is_not_there_is_not_found(shared: ServerProcess, target: str) -> None:
    assert (await ask(shared, "GET", target)).status in (400, 404)


async def test_an_absolute_target_is_taken(shared: ServerProcess) -> None:
    # RFC 9112 §3.2.2: a server must accept it.
    assert (await ask(shared, "GET", "http://tidings.test/version")).status == 200


async def test_options_of_the_server_itself_is_answered(shared: ServerProcess) -> None:
    assert (await ask(shared, "OPTIONS", "*")).status in (200, 204)


# --- pipelining, slowness, expectations -------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    cursor = (await wire.ask("GET", f"/channels/{channel}")).json["cursor"]
    # A long-poll in front holds the others up; the message that ends it comes over another connection.
    live = await raw.metric(shared, "tidings_live_subscribers")
    await wire.send(
        head_of("GET", f"/channels/{channel}?after={cursor}&wait=20")
        + head_of("GET", "/version")
        + head_of("HEAD", "/livez")
        + head_of("GET", "/nothing")
        + head_of("GET", f"/channels/{channel}?after=earliest")
    )
    await raw.until_metric(shared, "tidings_live_subscribers", live + 1)
    await ask(shared, "POST", f"/channels/{channel}", body=b"1")
    assert len((await wire.answer()).json["messages"]) == 1
    assert (await wire.answer()).json["name"] == "tidings"
    assert (await wire.answer(to_head=True)).status == 200
    assert (await wire.answer()).status == 404
    assert len((await wire.answer()).json["messages"]) == 1


@pytest.mark.parametrize("cut", [1, 20, 40])
async def test_many_pipelined_requests_may_be_cut_within_a_head(shared: ServerProcess, cut: int) -> None:
    wire = await Wire.connect(shared)
    one = head_of("GET", "/version", {"X": "x" * 1_000})
    # All heads together are over the limit of one, and fewer than are queued where answers are not read.
    await wire.send(one * 60 + one[:cut])
    for _ in range(60):
        assert (await wire.answer()).status == 200
    await wire.send(one[cut:])
    assert (await wire.answer()).status == 200


@pytest.mark.usefixtures("neighbours")
async def test_thousands_of_pipelined_requests_behind_a_long_poll_wait_and_are_all_answered(
    shared: ServerProcess, channel: str
) -> None:
    wire = await Wire.connect(shared)
    live = await raw.metric(shared, "tidings_live_subscribers")
    await wire.send(head_of("GET", f"/channels/{channel}?wait=20"))
    await raw.until_metric(shared, "tidings_live_subscribers", live + 1)
    before = shared.memory()
    burst = head_of("GET", "/version") * 20_000
    wire.writer.write(burst)  # more than the kernel takes: the server has stopped reading
    await ask(shared, "POST", f"/channels/{channel}", body=b"1")
    for _ in range(20_001):
        assert (await wire.answer()).status == 200
    assert shared.memory() - before < 4 * 1024 * 1024


@pytest.mark.usefixtures("neighbours")
async def test_answers_that_are_not_read_are_bounded(shared: ServerProcess, channel: str) -> None:
    body = b'"%b"' % (b"x" * 60_000)
    for _ in range(15):
        assert (await ask(shared, "POST", f"/channels/{channel}", body=body)).status == 201
    wire = await Wire.connect(shared, receive_buffer=4096)
    await wire.ask("GET", f"/channels/{channel}?after=earliest")
    before = shared.memory()
    # Each asks for 900 kB and reads nothing: 2 GB, if all were answered.
    wire.writer.write(head_of("GET", f"/channels/{channel}?after=earliest") * 2_000)
    await raw.until_it_sticks(wire, shared)
    assert shared.memory() - before < 16 * 1024 * 1024
    wire.abort()


@pytest.mark.slow
async def test_slow_bytes_end_at_the_deadline(shared: ServerProcess, channel: str) -> None:
    """Four at once, so that the ten seconds are waited for once. To the tick: features/test_liveness.py."""

    async def drip(first: bytes, piece: bytes) -> tuple[bytes, float]:
        started = time.monotonic()  # before the server can have begun to count
        wire = await Wire.connect(shared)
        await wire.send(first)
        answer = asyncio.create_task(wire.rest(patience=60))
        while not answer.done():
            await asyncio.wait((answer,), timeout=4)
            if not answer.done():
                wire.writer.write(piece)
        return await answer, time.monotonic() - started

    head = head_of("POST", f"/channels/{channel}", {"Content-Length": "1000"})
    one_served = head_of("GET", "/livez")
    results = await asyncio.gather(
        drip(b"GET /li", b"v"),
        drip(head, b" "),
        drip(one_served + b"GET / HTTP/1.1\r\nX: ", b"x"),
        drip(b"", b"\r\n"),  # empty lines in front of a request are passed over
    )
    for answer, seconds in results:
        assert 9.5 <= seconds < 20, (answer, seconds)
    assert b" 408 " in results[1][0]
    assert results[1][0].count(b"HTTP/1.1") == 1
    assert results[2][0].startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_expects_100_continue_gets_it(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    await wire.send(
        head_of("POST", f"/channels/{channel}", {"Expect": "100-continue", "Content-Length": "1"})
    )
    assert await wire.line() == b"HTTP/1.1 100 Continue\r\n"
    assert await wire.line() == b"\r\n"
    await wire.send(b"1")
    assert (await wire.answer()).status == 201


async def test_who_expects_100_continue_for_too_much_is_refused_before_the_body(
    shared: ServerProcess, channel: str
) -> None:
    headers = {"Expect": "100-continue", "Content-Length": "99999999"}
    answer, closed = await exchange(shared, head_of("POST", f"/channels/{channel}", headers))
    assert (answer.status, closed) == (413, True)


async def test_another_expectation_cannot_be_met(shared: ServerProcess, channel: str) -> None:
    headers = {"Expect": "a-miracle", "Content-Length": "1"}
    answer, _ = await exchange(shared, head_of("POST", f"/channels/{channel}", headers))
    assert answer.status == 417


@pytest.mark.parametrize("target", ["/channels/news", "/channels/news?wait=20", "/version", "/", "/nothing"])
async def test_head_is_the_head_of_get(shared: ServerProcess, target: str) -> None:
    wire = await Wire.connect(shared)
    head = await wire.ask("HEAD", target)
    # Nothing of a body stands between this and the next answer.
    get = await wire.ask("GET", target.replace("wait=20", "wait=0"))
    assert head.status == get.status
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_head_of_an_event_stream_is_a_head_only(shared: ServerProcess) -> None:
    wire = await Wire.connect(shared)
    await wire.send(head_of("HEAD", "/channels/news", {"Accept": "text/event-stream"}))
    answer = await wire.head()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert await wire.rest() == b""


# --- origins ---------------------------------------------------------------------------------------

REQUESTS = {
    "a poll": ("GET", {}, None),
    "an event stream": ("GET", {"Accept": "text/event-stream"}, None),
    "a WebSocket": ("GET", HANDSHAKE, None),
    "a publish": ("POST", {"Content-Type": "application/json"}, b"1"),
    "a preflight": ("OPTIONS", {"Access-Control-Request-Method": "POST"}, None),
}


@pytest.mark.parametrize(("method", "headers", "body"), REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize(
    "origin", ["https://evil.test", "null", "http://tidings.test.evil.test", "file://", ""]
)
async def test_a_foreign_origin_is_refused_without_cors_headers(
    shared: ServerProcess,
    channel: str,
    origin: str,
    method: str,
    headers: dict[str, str],
    body: bytes | None,
) -> None:
    answer = await ask(shared, method, f"/channels/{channel}", {**headers, "Origin": origin}, body)
    assert (answer.status, answer.json["code"]) == (403, "origin_refused")
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"] == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_the_servers_own_pages_may_connect(shared: ServerProcess, channel: str, name: str) -> None:
    own = {"Host": f"{name}:{shared.port}", "Origin": f"http://{name}:{shared.port}"}
    assert (await ask(shared, "GET", f"/channels/{channel}", own)).status == 200
    wire = await Wire.connect(shared)
    await wire.send(head_of("GET", f"/channels/{channel}", {**HANDSHAKE, **own}))
    assert (await wire.head()).status == 101
    elsewhere = {**own, "Origin": f"http://{name}:{shared.port + 1}"}
    assert (await ask(shared, "GET", f"/channels/{channel}", elsewhere)).status == 403


async def test_a_foreign_name_that_leads_here_is_not_the_servers_own(
    shared: ServerProcess, channel: str
) -> None:
    # DNS rebinding: in the eyes of the browser this page is of the same origin.
    rebound = {"Host": f"evil.test:{shared.port}", "Origin": f"http://evil.test:{shared.port}"}
    assert (await ask(shared, "POST", f"/channels/{channel}", rebound, b"1")).status == 403


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
        ({"Sec-WebSocket-Key": "not base64 at all!!!!!!!"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": "x"}, 426),
        ({"Origin": "https://evil.test"}, 403),
        ({"Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "7"}, 426),
    ],
)
async def test_a_refused_upgrade_closes_the_connection(
    shared: ServerProcess, channel: str, headers: dict[str, str], status: int
) -> None:
    fields = {**HANDSHAKE, **headers}
    smuggled = head_of("POST", f"/channels/{channel}", body=b"1") + b"1"
    wire = await Wire.connect(shared)
    await wire.send(head_of("GET", f"/channels/{channel}", fields) + smuggled)
    answer = await wire.answer()
    assert answer.status in (status, 400 if status == 426 else status), answer
    if answer.status == 426:
        assert answer.headers["sec-websocket-version"] == "13"
    assert answer.headers["connection"] == "close"
    assert await wire.rest() == b""
    assert (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"] == []


async def test_a_handshake_without_a_key_is_refused(shared: ServerProcess) -> None:
    fields = {name: value for name, value in HANDSHAKE.items() if name != "Sec-WebSocket-Key"}
    answer, closed = await exchange(shared, head_of("GET", "/channels", fields))
    assert (answer.status, closed) == (400, True)


async def test_a_websocket_that_was_asked_for_without_an_upgrade_is_426(shared: ServerProcess) -> None:
    answer = await ask(shared, "GET", "/channels/news?transport=websocket")
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")


async def test_an_upgrade_to_something_else_is_answered_as_it_is(shared: ServerProcess) -> None:
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}
    assert (await ask(shared, "GET", "/version", headers)).status == 200


async def test_refusals_do_not_repeat_what_the_client_sent_in_their_head(shared: ServerProcess) -> None:
    answer = await ask(shared, "GET", "/channels/news?transport=a%0d%0aSet-Cookie:%20x", {"Prefer": "wait=1"})
    assert answer.status == 400
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Last-Event-ID": "CURSOR"}),
        ("GET", {"If-None-Match": "ETAG"}),
        ("GET", {"Host": "tidings.test"}),
        ("GET", {"Accept": "text/event-stream"}),
        ("POST", {"Idempotency-Key": "k1"}),
        ("POST", {"Content-Encoding": "identity"}),
        ("POST", {"Content-Type": "text/plain"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
@pytest.mark.parametrize("space", [" ", "\t", " \t "])
async def test_white_space_around_a_headers_value_is_not_part_of_it(
    shared: ServerProcess, channel: str, method: str, headers: dict[str, str], space: str
) -> None:
    # RFC 9110 §5.5
    cursor = (await ask(shared, "POST", f"/channels/{channel}", None, b"1")).json["id"]
    target = f"/channels/{channel}?after={cursor}"
    etag = (await ask(shared, "GET", target)).headers["etag"]
    [(name, value)] = headers.items()
    value = {"CURSOR": cursor, "ETAG": etag}.get(value, value)
    told = []
    for around in ("", space):
        wire = await Wire.connect(shared)
        body = b"1" if method == "POST" else None
        await wire.send(head_of(method, target, {name: f"{around}{value}{around}"}, body) + (body or b""))
        answer = await wire.head()
        told.append((answer.status, answer.headers["content-type"] if answer.status == 200 else ""))
    assert told[0][0] in (200, 201, 304)
    # The second time the key is known.
    assert told[1] == ((200, "application/json") if name == "Idempotency-Key" else told[0])


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("text/event-stream ; charset=utf-8", True),
        ("text/event-streamx", False),
        ("application/x-text/event-stream", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.000, */*", False),
        ("*/*", False),
    ],
)
async def test_who_accepts_an_event_stream_gets_one(
    shared: ServerProcess, accept: str, streams: bool
) -> None:
    wire = await Wire.connect(shared)
    await wire.send(head_of("GET", "/channels/news", {"Accept": accept}))
    answer = await wire.head()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream") == streams


async def test_a_preference_has_no_case(shared: ServerProcess) -> None:
    answer = await ask(shared, "GET", "/channels/news", {"Prefer": "Wait=0"})
    assert answer.headers["preference-applied"] == "wait=0"


@pytest.mark.parametrize("digits", [10, 19, 400, 5_000])
@pytest.mark.parametrize("parameter", ["limit", "limit=-", "wait", "rewind"])
async def test_an_absurd_number_is_brought_into_its_range(
    shared: ServerProcess, parameter: str, digits: int
) -> None:
    sign = "" if "=" in parameter else "="
    # Nothing hangs: what there is is asked for.
    target = f"/channels/absurd?after=earliest&{parameter}{sign}{'9' * digits}"
    if parameter == "rewind":
        target = target.replace("after=earliest&", "")
    await ask(shared, "POST", "/channels/absurd", None, b"1")
    answer = await ask(shared, "GET", target)
    assert (answer.status, bool(answer.json["messages"])) == (200, True)


async def test_what_is_around_chunks_is_bounded_too(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    await wire.send(head_of("POST", f"/channels/{channel}", {"Transfer-Encoding": "chunked"}))
    extension = b";" + b"x" * 16_000

    async def flood() -> None:
        while True:
            await wire.send(b"1" + extension + b"\r\n \r\n")

    flooding = asyncio.create_task(flood())
    answer = await wire.answer()
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_http_1_0_has_no_upgrade(shared: ServerProcess) -> None:
    # RFC 9110 §7.8: the field is ignored.
    wire = await Wire.connect(shared)
    await wire.send(head_of("GET", "/channels/news", HANDSHAKE).replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await wire.answer()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert await wire.rest() == b""


@pytest.mark.parametrize("code", [code for code, kind in CODES.items() if kind.status == 503])
def test_a_503_always_says_when_to_come_back(code: str) -> None:
    assert dict(http.refusal(Refusal(code, "Why.")).headers)["Retry-After"] == "1"
    assert dict(http.refusal(Refusal(code, "Why.", (("Retry-After", "5"),))).headers)["Retry-After"] == "5"


async def test_http_1_0_closes_unless_it_says_otherwise(shared: ServerProcess) -> None:
    wire = await Wire.connect(shared)
    await wire.send(b"GET /version HTTP/1.0\r\n\r\n")
    answer = await wire.answer()
    assert (answer.status, await wire.rest()) == (200, b"")
    wire = await Wire.connect(shared)
    for _ in range(2):
        await wire.send(b"GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


async def test_doubling_a_list_in_a_header_does_not_square_the_time(shared: ServerProcess) -> None:
    async def seconds(value: str) -> float:
        wire = await Wire.connect(shared)
        before = shared.cpu_seconds()
        for _ in range(50):
            await wire.ask("GET", "/channels/news", {"If-None-Match": value, "Prefer": value})
        return shared.cpu_seconds() - before

    for piece in ('"a",', "wait,", "wait =", "  ", ",;"):
        half, whole = await seconds(piece * (3500 // len(piece))), await seconds(piece * (7000 // len(piece)))
        assert whole < 3 * half + 0.1
