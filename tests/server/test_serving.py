"""The process from outside: where it listens, how it keeps connections, what it refuses to start with."""

import asyncio
import gzip
import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import raw
from kit import ServerProcess, serving
from raw import Socket, Stream, Wire, ask, head_of


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [
            "openssl",
            *wanted.split(),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture(scope="module")
def allowing() -> Iterator[ServerProcess]:
    """A server to which pages of one other origin may connect."""
    with serving("--allow-origin", "https://app.test", "--drain", "0") as server:
        yield server


@pytest.fixture(scope="module")
def secure(certificate: tuple[Path, Path]) -> Iterator[ServerProcess]:
    """A server with TLS."""
    with serving(
        "--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]), "--drain", "0.2"
    ) as server:
        yield server


@pytest.fixture
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """A client's context that knows the certificate."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def all_transports_work(wires: list[Wire], channel: str) -> None:
    """See a message come over each of four connections."""
    polls, waits, streams, sockets = wires
    cursor = (await polls.ask("GET", f"/channels/{channel}")).json["cursor"]
    await streams.send(head_of("GET", f"/channels/{channel}", {"Accept": "text/event-stream"}))
    assert (await streams.head()).status == 200
    stream = Stream(streams)
    for _ in range(2):
        await stream.block()  # retry, ready
    socket = await Socket.open(sockets, f"/channels/{channel}")
    assert "ready" in json.loads(await socket.said())
    await waits.send(head_of("GET", f"/channels/{channel}?after={cursor}&wait=20"))
    body = b'"%b"' % (b"x" * 40_000)  # more than one TLS record
    answer = await polls.ask("POST", f"/channels/{channel}", {"Content-Type": "application/json"}, body)
    assert answer.status == 201
    identity = answer.json["id"]
    polled = (await polls.ask("GET", f"/channels/{channel}?after={cursor}")).json
    assert [m["id"] for m in polled["messages"]] == [identity]
    assert [m["id"] for m in (await waits.answer()).json["messages"]] == [identity]
    assert dict(await stream.block() or ())["id"] == identity
    assert json.loads(await socket.said())["message"]["id"] == identity


async def test_tls_carries_all_four_transports(
    secure: ServerProcess, trust: ssl.SSLContext, channel: str
) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    wires = [await Wire.connect(secure, tls=trust) for _ in range(4)]
    await all_transports_work(wires, channel)
    tls: ssl.SSLObject = wires[0].writer.get_extra_info("ssl_object")
    assert tls.version() in ("TLSv1.2", "TLSv1.3")
    assert tls.selected_alpn_protocol() == "http/1.1"


async def test_tls_1_1_is_not_spoken(secure: ServerProcess, trust: ssl.SSLContext) -> None:
    trust.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        trust.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Wire.connect(secure, tls=trust)


async def test_plain_http_on_the_tls_port_disturbs_nobody(
    secure: ServerProcess, trust: ssl.SSLContext
) -> None:
    wire = await Wire.connect(secure)
    await wire.send(head_of("GET", "/livez"))
    await wire.rest()
    good = await Wire.connect(secure, tls=trust)
    assert (await good.ask("GET", "/livez")).status == 200
    assert "Traceback" not in "".join(secure.errors)


async def test_a_stream_over_tls_that_is_not_read_takes_no_memory(
    secure: ServerProcess, trust: ssl.SSLContext, channel: str
) -> None:
    wire = await Wire.connect(secure, tls=trust)
    await wire.send(head_of("GET", f"/channels/{channel}", {"Accept": "text/event-stream"}))
    await wire.head()
    publisher = await Wire.connect(secure, tls=trust)
    body = b'"%b"' % (b"x" * 60_000)

    async def publish(count: int) -> None:
        for _ in range(count):
            answer = await publisher.ask("POST", f"/channels/{channel}", None, body)
            assert answer.status == 201

    # The history keeps it all, and is not what is measured here: the same again on a channel nobody reads.
    await publish(100)
    before = secure.memory()
    await publish(300)
    with_reader = secure.memory() - before
    wire.abort()
    before = secure.memory()
    await publish(300)
    without = secure.memory() - before
    assert with_reader - without < 8 * 1024 * 1024


async def test_a_unix_socket_carries_all_four_transports(tmp_path: Path, channel: str) -> None:
    path = tmp_path / "tidings.sock"
    with serving("--uds", str(path), "--drain", "0.2") as server:
        assert server.url == f"unix:{path}"
        assert stat.S_ISSOCK(path.stat().st_mode)
        await all_transports_work([await Wire.connect(server) for _ in range(4)], channel)
        await raw.close_all()
        assert server.stop() == 0
        assert not path.exists()
    assert "Traceback" not in "".join(server.errors)


async def test_a_unix_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "tidings.sock"
    with serving("--uds", str(path)) as first:
        first.kill()
        assert path.exists()
    with serving("--uds", str(path)) as second:
        result = refused("--uds", str(path))
        assert str(path) in result.stderr
        assert (await ask(second, "GET", "/livez")).status == 200


async def test_a_file_in_the_way_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("text")
    refused("--uds", str(path))
    assert path.read_text() == "text"


def refused(*flags: str) -> subprocess.CompletedProcess[str]:
    """Start a server that does not start; return what it said, which is no traceback."""
    result = subprocess.run(
        [sys.executable, "-m", "tidings", "serve", *flags],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ,
    )
    assert result.returncode not in (0, -9, -15)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.strip()
    return result


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_address_that_others_reach_needs_open(host: str) -> None:
    assert "--open" in refused("--host", host, "--port", "0").stderr


async def test_with_open_it_serves_every_address() -> None:
    # The machine itself is the only one that can reach it here.
    with serving("--host", "0.0.0.0", "--open", "--drain", "0") as server:
        server.host = "127.0.0.1"
        assert (await ask(server, "GET", "/livez")).status == 200


def test_a_port_in_use_is_said(shared: ServerProcess) -> None:
    assert str(shared.port) in refused("--port", str(shared.port)).stderr


def test_a_certificate_without_its_key_is_refused(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    assert "--tls-key" in refused("--tls-cert", str(certificate[0]), "--port", "0").stderr
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    refused("--tls-cert", str(empty), "--tls-key", str(empty), "--port", "0")
    refused("--tls-cert", str(tmp_path / "none"), "--tls-key", str(tmp_path / "none"), "--port", "0")


# --- connections -----------------------------------------------------------------------------------


async def test_a_connection_is_kept_for_many_requests(shared: ServerProcess, channel: str) -> None:
    before = await raw.metric(shared, "tidings_connections")
    wire = await Wire.connect(shared)
    for number in range(50):
        answer = await wire.ask("POST", f"/channels/{channel}", None, b"%d" % number)
        assert answer.status == 201
        assert "connection" not in answer.headers
    # One for this connection, and /metrics' own.
    assert await raw.metric(shared, "tidings_connections") - before <= 1


async def test_a_refusal_by_its_content_keeps_the_connection(shared: ServerProcess) -> None:
    wire = await Wire.connect(shared)
    for target, status in (("/channels/a%20b", 400), ("/nothing", 404), ("/channels/a?wait=x", 400)):
        assert (await wire.ask("GET", target)).status == status
    assert (await wire.ask("POST", "/channels/a", None, b"no json")).status == 400
    assert (await wire.ask("PUT", "/channels/a", None, b"1")).status == 405
    assert (await wire.ask("GET", "/livez")).status == 200


async def test_connection_close_is_obeyed(shared: ServerProcess, channel: str) -> None:
    for target in ("/livez", f"/channels/{channel}", f"/channels/{channel}?wait=0.1"):
        wire = await Wire.connect(shared)
        answer = await wire.ask("GET", target, {"Connection": "close"})
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.rest() == b""


async def test_a_chunked_body_is_a_body(shared: ServerProcess, channel: str) -> None:
    wire = await Wire.connect(shared)
    head = head_of(
        "POST", f"/channels/{channel}", {"Transfer-Encoding": "chunked", "Content-Type": "text/plain"}, b""
    )
    # With an extension and a trailer, which mean nothing here, and every byte on its own.
    for byte in head + b'5;a="b"\r\nhello\r\n7\r\n, world\r\n0\r\nX-Trailer: x\r\n\r\n':
        await wire.send(bytes([byte]))
    assert (await wire.answer()).status == 201
    [message] = (await wire.ask("GET", f"/channels/{channel}?after=earliest")).json["messages"]
    assert message["data"] == "hello, world"


async def test_a_client_that_leaves_while_it_is_parked_frees_its_place(
    shared: ServerProcess, channel: str
) -> None:
    # Those of earlier tests are gone, or about to be noticed.
    live = 0
    await raw.until_metric(shared, "tidings_live_subscribers", live)
    cohorts = await raw.metric(shared, "tidings_cohorts")
    for leave in ("abort", "close", "half-close"):
        polls, streams, sockets = [await Wire.connect(shared) for _ in range(3)]
        await polls.send(head_of("GET", f"/channels/{channel}?wait=50"))
        await streams.send(head_of("GET", f"/channels/{channel}", {"Accept": "text/event-stream"}))
        await Socket.open(sockets, f"/channels/{channel}")
        await raw.until_metric(shared, "tidings_live_subscribers", live + 3)
        for wire in (polls, streams, sockets):
            if leave == "abort":
                wire.abort()
            elif leave == "close":
                wire.writer.close()
            else:
                wire.writer.write_eof()
        await raw.until_metric(shared, "tidings_live_subscribers", live)
        assert await raw.metric(shared, "tidings_cohorts") == cohorts
    # Nothing was consumed: who asks next is told.
    identity = (await ask(shared, "POST", f"/channels/{channel}", None, b"1")).json["id"]
    messages = (await ask(shared, "GET", f"/channels/{channel}?after=earliest")).json["messages"]
    assert [m["id"] for m in messages] == [identity]


async def test_what_operators_ask_is_answered(shared: ServerProcess) -> None:
    for path in ("/livez", "/readyz"):
        answer = await ask(shared, "GET", path)
        assert (answer.status, answer.json) == (200, {"status": "ok"})
    version = (await ask(shared, "GET", "/version")).json
    assert set(version) == {"name", "version", "protocol"}
    assert version["protocol"] == "tidings.v1"


async def test_metrics_count_and_name_no_channel(shared: ServerProcess, channel: str) -> None:
    published = await raw.metric(shared, "tidings_published_total")
    renderings = await raw.metric(shared, "tidings_renderings_total")
    sockets = [await Socket.open(await Wire.connect(shared), f"/channels/{channel}") for _ in range(10)]
    for socket in sockets:
        await socket.said()
    await ask(shared, "POST", f"/channels/{channel}", None, b"1")
    for socket in sockets:
        await socket.said()
    assert await raw.metric(shared, "tidings_published_total") == published + 1
    # One rendering for all ten.
    assert await raw.metric(shared, "tidings_renderings_total") == renderings + 1
    answer = await ask(shared, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert channel.encode() not in answer.body


async def test_an_allowed_origin_gets_cors_headers() -> None:
    with serving("--allow-origin", "https://app.test", "--drain", "0") as server:
        origin = {"Origin": "https://app.test"}
        for method, headers in (
            ("GET", {}),
            ("GET", {"If-None-Match": '"x"'}),
            ("POST", {"Content-Type": "application/json"}),
            ("POST", {"Content-Type": "text/html"}),  # refusals, too: else a page cannot read them
            ("GET", {"Prefer": "wait=0"}),
        ):
            body = b"1" if method == "POST" else None
            answer = await ask(server, method, "/channels/news", {**origin, **headers}, body)
            assert answer.headers["access-control-allow-origin"] == "https://app.test", answer
            assert "Origin" in answer.headers["vary"]
        preflight = await ask(
            server,
            "OPTIONS",
            "/channels/news",
            {
                **origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type,idempotency-key",
            },
        )
        assert preflight.status == 204
        assert "POST" in preflight.headers["access-control-allow-methods"]
        allowed = preflight.headers["access-control-allow-headers"].lower()
        for name in ("content-type", "idempotency-key", "if-none-match", "last-event-id", "prefer"):
            assert name in allowed
        wire = await Wire.connect(server)
        await wire.send(head_of("GET", "/channels/news", {**origin, "Accept": "text/event-stream"}))
        assert (await wire.head()).headers["access-control-allow-origin"] == "https://app.test"
        await Socket.open(await Wire.connect(server), "/channels/news", origin)
        foreign = await ask(server, "GET", "/channels/news", {"Origin": "https://app.test.evil.test"})
        assert foreign.status == 403


@pytest.mark.parametrize("path", ["/tidings.js", "/", "/lab", "/web/page.css", "/web/icon.svg"])
async def test_pages_are_sent_compressed_to_who_takes_that(shared: ServerProcess, path: str) -> None:
    plain = await ask(shared, "GET", path)
    packed = await ask(shared, "GET", path, {"Accept-Encoding": "deflate, GZip;q=0.5, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed.body) == plain.body
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != packed.headers["etag"]
    # Who has one form is told that the other is new, and of its own that it is not.
    for accepts, has, status in (
        ("gzip", packed, 304),
        ("gzip", plain, 200),
        ("", plain, 304),
        ("", packed, 200),
    ):
        headers = {"Accept-Encoding": accepts, "If-None-Match": has.headers["etag"]}
        assert (await ask(shared, "GET", path, headers)).status == status
    for unwanted in ("gzip;q=0", "gzip; q=0.0, br", "x-gzipped", "identity"):
        answer = await ask(shared, "GET", path, {"Accept-Encoding": unwanted})
        assert answer.body == plain.body
    head = await ask(shared, "HEAD", path, {"Accept-Encoding": "gzip"})
    assert head.headers["content-length"] == packed.headers["content-length"]


async def test_the_sdk_is_at_most_eight_kibibytes_on_the_way(shared: ServerProcess) -> None:
    answer = await ask(shared, "GET", "/tidings.js", {"Accept-Encoding": "gzip, deflate, br, zstd"})
    assert int(answer.headers["content-length"]) <= 8 * 1024


ALLOWED = b"Origin: https://app.test"
UNREAD = {
    "a body that is too large": (b"POST /channels/news", b"Content-Length: 70000", 413),
    "a batch that is too large": (b"POST /publish", b"Content-Length: 270000", 413),
    "chunks that are too large": (
        b"POST /channels/news",
        b"Transfer-Encoding: chunked\r\n\r\n11000\r\n" + b" " * 0x11000,
        413,
    ),
    "a target that is too long": (b"GET /channels/" + b"x" * 8_200, b"X: y", 414),
    "a header that is too long": (b"GET /channels/news", b"X: " + b"y" * 8_200, 431),
    "an expectation": (b"POST /channels/news", b"Content-Length: 1\r\nExpect: more", 417),
    "a method that there is not": (b"BREW /channels/news", b"X: y", 405),
    "a parameter given twice": (b"GET /channels/news?limit=1&limit=2", b"X: y", 400),
    "an encoded slash": (b"GET /channels/a%2Fb", b"X: y", 400),
}


@pytest.mark.parametrize(("line", "header", "status"), UNREAD.values(), ids=UNREAD)
async def test_an_allowed_page_sees_why_its_request_was_not_read(
    allowing: ServerProcess, line: bytes, header: bytes, status: int
) -> None:
    """Without these headers a page is told of a network error, and tries the same again and again."""
    for origin, seen in ((ALLOWED, True), (b"Origin: https://other.test", False)):
        wire = await Wire.connect(allowing)
        request = b"\r\n".join((line + b" HTTP/1.1", b"Host: tidings.test", origin, header, b"", b""))
        head, end, body = request.partition(b"\r\n\r\n")
        await wire.send(head + end)
        await wire.send(body)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert ("access-control-allow-origin" in answer.headers) == seen
        if seen:
            assert answer.headers["vary"] == "Origin"


async def test_a_thousand_connections_at_once_are_accepted(shared: ServerProcess) -> None:
    wires = await asyncio.gather(*[Wire.connect(shared) for _ in range(500)])
    answers = await asyncio.gather(*[wire.ask("GET", "/livez") for wire in wires])
    assert {answer.status for answer in answers} == {200}
