"""The commands, run as a user runs them, against a real server."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kit import ServerProcess, serving
from tidings.cli import lines

TIDINGS = [sys.executable, "-m", "tidings"]
TRANSPORTS = ("auto", "websocket", "sse", "long-polling", "polling")
# Nobody listens there: the port of the discard service, which needs a privilege to open.
NOBODY = "http://127.0.0.1:9"
PATIENCE = 100.0  # seconds; a busy machine takes its time to start a command


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:200]


def tidings(*arguments: str, url: str = NOBODY, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end."""
    environment = {**os.environ, "TIDINGS_URL": url, "COLUMNS": "200"}
    return subprocess.run(
        [*TIDINGS, *arguments],
        input=stdin,
        capture_output=True,
        env=environment,
        timeout=PATIENCE,
        check=False,
    )


class Sub:
    """A running `tidings sub`: what it prints, and what it says."""

    def __init__(self, *arguments: str, url: str) -> None:
        self.process = subprocess.Popen(
            [*TIDINGS, "sub", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TIDINGS_URL": url, "COLUMNS": "200"},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out = self.process.stdout
        self._said = self.process.stderr
        # A test that waits for a line that does not come ends here, and not with the whole run.
        self._limit = threading.Timer(PATIENCE, self.process.kill)
        self._limit.start()

    def says(self, words: str) -> str:
        """Wait for a line on standard error with these words in it, and return it."""
        for line in self._said:
            if words in (text := line.decode()):
                return text
        raise AssertionError(f"it ended without saying {words!r}")

    def line(self) -> str:
        """Wait for a line on standard output."""
        line = self.out.readline().decode()
        assert line.endswith("\n"), "it ended without a line"
        return line.removesuffix("\n")

    def end(self, with_signal: int | None = None) -> int:
        """Wait for its end, and return the exit code."""
        if with_signal is not None:
            self.process.send_signal(with_signal)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self._limit.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.out.close()
        self._said.close()


@contextmanager
def subscribed(*arguments: str, url: str) -> Iterator[Sub]:
    """Yield a `tidings sub` that has connected."""
    sub = Sub(*arguments, url=url)
    try:
        sub.says("connected over")
        yield sub
    finally:
        sub.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sub_prints_what_pub_sends(shared: ServerProcess, channel: str, transport: str) -> None:
    arguments = (channel, "--transport", transport, "--interval", "0.05", "--count", "2")
    with subscribed(*arguments, url=shared.url) as sub:
        assert tidings("pub", channel, '{"n":1}', url=shared.url).returncode == 0
        # It is flushed: the line comes before there is another.
        assert sub.line().endswith(f' {channel} {{"n":1}}')
        tidings("pub", channel, "hello", "--event", "greeting", "--key", "k", url=shared.url)
        assert sub.line().endswith(f' {channel} greeting [k] "hello"')
        assert sub.end() == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_json_is_printed_as_the_server_sends_it(shared: ServerProcess, channel: str, transport: str) -> None:
    tidings("pub", channel, '{"a" : 1.00, "ü":"\\u00fc"}', "--event", "x", url=shared.url)
    answer = urllib.request.urlopen(
        f"{shared.url}/channels/{channel}?after=earliest", timeout=PATIENCE
    ).read()
    sub = tidings(
        "sub",
        channel,
        "--after",
        "earliest",
        "--count",
        "1",
        "--json",
        "--transport",
        transport,
        url=shared.url,
    )
    line = sub.stdout.removesuffix(b"\n")
    assert b'"data":{"a" : 1.00, "\xc3\xbc":"\\u00fc"}' in line
    assert b'{"messages":[' + line + b"]" in answer


def test_a_message_of_several_lines_is_printed_on_one(shared: ServerProcess, channel: str) -> None:
    tidings("pub", channel, '{\n  "a":\r\n  "b\\n\\u009b"\n}', url=shared.url)
    for flag in ("--json", "--quiet"):
        # Of the four, only SSE cannot carry a line end in a message.
        for transport in ("sse", "polling"):
            shown = tidings(
                "sub",
                channel,
                "--after",
                "earliest",
                "--count",
                "1",
                flag,
                "--transport",
                transport,
                url=shared.url,
            )
            assert shown.stdout.count(b"\n") == 1
            assert b'"b\\n\\u009b"' in shown.stdout


def test_what_would_steer_a_terminal_is_shown_instead(shared: ServerProcess, channel: str) -> None:
    tidings("pub", channel, '"\u009b31mred \u202eleft"', url=shared.url)
    shown = tidings("sub", channel, "--after", "earliest", "--count", "1", url=shared.url)
    assert "\\u009b31mred \\u202eleft" in shown.stdout.decode()


def test_after_and_rewind_begin_where_they_say(shared: ServerProcess, channel: str) -> None:
    published = tidings("pub", channel, "-", url=shared.url, stdin=b"1\n2\n3\n4\n")
    ids = published.stdout.decode().split()

    def data(*arguments: str) -> list[int]:
        shown = tidings("sub", channel, "--json", *arguments, url=shared.url)
        return [json.loads(line)["data"] for line in shown.stdout.splitlines()]

    assert data("--after", ids[1], "--count", "2") == [3, 4]
    assert data("--after", "earliest", "--count", "4") == [1, 2, 3, 4]
    assert data("--rewind", "3", "--count", "3") == [2, 3, 4]
    assert data("--rewind", "60s", "--count", "4") == [1, 2, 3, 4]


def test_every_line_of_standard_input_becomes_a_message(shared: ServerProcess, channel: str) -> None:
    lines = '{"n":1}\nplain words\n\n42\r\nno line end'
    published = tidings("pub", channel, "-", url=shared.url, stdin=lines.encode())
    assert published.returncode == 0
    assert len(set(published.stdout.split())) == 5
    shown = tidings("sub", channel, "--after", "earliest", "--count", "5", "--json", url=shared.url)
    data = [json.loads(line)["data"] for line in shown.stdout.splitlines()]
    assert data == [{"n": 1}, "plain words", "", 42, "no line end"]


@pytest.mark.parametrize(
    ("flags", "given", "data"),
    [
        ((), "42", 42),
        ((), "NaN", "NaN"),
        ((), "[1,", "[1,"),
        ((), "it's 5 o'clock", "it's 5 o'clock"),
        (("--text",), "42", "42"),
        (("--text",), '{"a":1}', '{"a":1}'),
        (("--json",), ' {"a":1} ', {"a": 1}),
    ],
)
def test_data_is_json_or_else_text(
    shared: ServerProcess, channel: str, flags: tuple[str, ...], given: str, data: object
) -> None:
    assert tidings("pub", channel, given, *flags, url=shared.url).returncode == 0
    shown = tidings("sub", channel, "--rewind", "1", "--count", "1", "--json", url=shared.url)
    assert json.loads(shown.stdout)["data"] == data


def test_lines_end_at_the_first_that_cannot_be_sent(shared: ServerProcess, channel: str) -> None:
    for bad in (b"{not json", b'"\xff"'):
        published = tidings("pub", channel, "-", "--json", url=shared.url, stdin=b"1\n" + bad + b"\n3\n")
        assert published.returncode == 1
        assert len(published.stdout.split()) == 1
        assert b"line 2" in published.stderr
        assert b"1 sent before it" in published.stderr


def test_nothing_behind_a_line_that_is_refused_is_sent(shared: ServerProcess, channel: str) -> None:
    lines = b"1\n2\n" + b"x" * 70_000 + b"\n4\n"
    published = tidings("pub", channel, "-", url=shared.url, stdin=lines)
    assert published.returncode == 1
    assert len(published.stdout.split()) == 2
    assert b"line 3 failed; 2 others sent" in published.stderr
    assert b"(body_too_large," in published.stderr
    shown = tidings("sub", channel, "--after", "earliest", "--count", "2", "--json", url=shared.url)
    assert [json.loads(line)["data"] for line in shown.stdout.splitlines()] == [1, 2]
    again = tidings("pub", channel, "-", url=shared.url, stdin=b"5\n")
    # The next position: there was no fourth message.
    assert int(again.stdout.rpartition(b"-")[2]) == int(published.stdout.rpartition(b"-")[2]) + 1


def test_a_line_that_is_typed_is_sent_at_once(shared: ServerProcess, channel: str) -> None:
    process = subprocess.Popen(
        [*TIDINGS, "pub", channel, "-", "--url", shared.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    limit = threading.Timer(PATIENCE, process.kill)
    limit.start()
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.write(b"no line end")
        process.stdin.close()
        assert process.stdout.read().endswith(b"\n")
    limit.cancel()
    assert process.returncode == 0


async def test_lines_that_come_faster_than_answers_go_together(shared: ServerProcess, channel: str) -> None:
    asked: list[bytes] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry requests and answers to and fro, one after the other, and note the requests."""
        server_reader, server_writer = await asyncio.open_connection(shared.host, shared.port)
        with suppress(asyncio.IncompleteReadError):
            while True:
                for source, sink in ((reader, server_writer), (server_reader, writer)):
                    head = await source.readuntil(b"\r\n\r\n")
                    length = re.search(rb"(?i)content-length: (\d+)", head)
                    assert length is not None
                    sink.write(head + await source.readexactly(int(length[1])))
                    asked.append(head.partition(b" HTTP")[0])
        for end in (writer, server_writer):
            end.close()

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as relay:
        host, port = relay.sockets[0].getsockname()
        command = [*TIDINGS, "pub", channel, "-", "--url", f"http://{host}:{port}"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        numbers = b"".join(b"%d\n" % number for number in range(900))
        async with asyncio.timeout(PATIENCE):
            printed, _ = await process.communicate(numbers)
    batches = [head for head in asked if head == b"POST /publish"]
    assert 9 <= len(batches) <= 20
    shown = await asyncio.to_thread(
        tidings, "sub", channel, "--after", "earliest", "--count", "900", "--json", url=shared.url
    )
    messages = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [message["data"] for message in messages] == list(range(900))
    assert [message["id"] for message in messages] == printed.decode().split()


def test_lines_are_read_as_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "READ_BYTES", 4)
    monkeypatch.setattr(lines, "LINE_BYTES", 9)

    def arriving(text: bytes) -> list[bytes]:
        reader, writer = os.pipe()
        os.write(writer, text)
        os.close(writer)
        try:
            return [line for some in lines.arriving(reader) for line in some]
        finally:
            os.close(reader)

    for text in (b"", b"\n", b"\n\n", b"a", b"ab\ncd", b"abc\nde\n\nf\n", b"abcdefgh\nij\n"):
        assert arriving(text) == text.splitlines()
    # Never more of a line in memory than a little over its bound.
    assert [len(line) for line in arriving(b"a\n" + b"x" * 100)] == [1, 10]


def test_one_idempotency_key_publishes_once(shared: ServerProcess, channel: str) -> None:
    first = tidings("pub", channel, "1", "--idempotency-key", "k", url=shared.url)
    second = tidings("pub", channel, "1", "--idempotency-key", "k", url=shared.url)
    assert first.stdout == second.stdout
    assert b"published before" in second.stderr
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_restart_of_the_server_is_told_and_followed_on(channel: str) -> None:
    flags = (channel, "--json", "--transport", "websocket")
    with serving("--drain", "0.1") as first, subscribed(*flags, url=first.url) as sub:
        before = tidings("pub", channel, "1", url=first.url).stdout.decode().strip()
        assert json.loads(sub.line())["data"] == 1
        first.stop()
        sub.says("cut:")
        with serving("--port", str(first.port)):
            sub.says("connected over websocket")
            assert f"between {before} and" in sub.says("gap on")
            tidings("pub", channel, "2", url=first.url)
            assert json.loads(sub.line())["data"] == 2


def test_an_interrupt_ends_with_130_and_says_how_to_go_on(shared: ServerProcess, channel: str) -> None:
    with subscribed(channel, "--after", "earliest", url=shared.url) as sub:
        published = tidings("pub", channel, "1", url=shared.url).stdout.decode().strip()
        sub.line()
        assert sub.end(signal.SIGINT) == 130
        assert f"--after {published}" in sub.says("go on")


def test_a_reader_that_has_had_enough_ends_it_quietly(shared: ServerProcess, channel: str) -> None:
    sub = Sub(channel, "--after", "earliest", "--quiet", url=shared.url)
    try:
        tidings("pub", channel, "1", url=shared.url)
        sub.line()
        sub.out.close()
        tidings("pub", channel, "2", url=shared.url)
        assert sub.end() == 0
        assert sub.process.stderr is not None
        assert sub.process.stderr.read() == b""
    finally:
        sub.close()


@pytest.mark.parametrize(
    "command", [("pub", "news", "1"), ("sub", "news"), ("sub", "news", "--transport", "polling")]
)
def test_without_a_server_one_line_says_how_to_start_one(command: tuple[str, ...]) -> None:
    ended = tidings(*command)
    assert ended.returncode == 1
    assert ended.stderr.count(b"\n") == 1
    assert b"tidings serve" in ended.stderr


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("pub", "a b", "1"), "bad_channel"),
        (("pub", "news", "1", "--event", "ready"), "bad_event"),
        (("pub", "news", "1", "--key", "a b"), "bad_key"),
        (("pub", "news", "x" * 70_000), "body_too_large"),
        (("sub", "a b"), "bad_channel"),
        (("sub", "news", "--rewind", "soon"), "bad_parameter"),
        (("sub", "news", "--after", "garbage", "--transport", "polling"), "bad_cursor"),
        (("sub", ",".join(f"c{n}" for n in range(1000))), "too_many_channels"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(
    shared: ServerProcess, command: tuple[str, ...], word: str
) -> None:
    ended = tidings(*command, url=shared.url)
    assert ended.returncode == 1
    assert ended.stdout == b""
    assert ended.stderr.count(b"\n") == 1
    assert f"({word}," in ended.stderr.decode()


@pytest.mark.parametrize(
    "command",
    [
        ("pub",),
        ("pub", "news"),
        ("pub", "news", "{", "--json"),
        ("pub", "news", "1", "--json", "--text"),
        ("pub", "news", "-", "--idempotency-key", "k"),
        ("pub", "news", "1", "--url", "nowhere"),
        ("sub", "news", "--url", "nowhere"),
        ("sub", "news", "--after", "e-1", "--rewind", "1"),
        ("sub", "news", "--transport", "pigeon"),
        ("sub", "news", "--count", "0"),
        ("sub", "news", "--interval", "0"),
        ("serve", "--port", "70000"),
        ("serve", "--port", "0", "--tls-cert", "/nowhere"),
        ("serve", "--port", "0", "--host", "0.0.0.0"),
        ("serve", "--port", "0", "--allow-origin", "example.org"),
        ("listen",),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(command: tuple[str, ...]) -> None:
    ended = tidings(*command)
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert ended.stderr
    assert b"Traceback" not in ended.stderr


def test_an_address_that_others_reach_needs_open() -> None:
    refused = tidings("serve", "--port", "0", "--host", "0.0.0.0")
    assert b"--open" in refused.stderr


def test_serve_says_where_it_listens_and_ends_with_0() -> None:
    with serving() as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.stop() == 0


def test_serve_and_the_others_meet_on_a_unix_socket(tmp_path: Path) -> None:
    url = f"unix:{tmp_path / 't.sock'}"
    with serving("--uds", str(tmp_path / "t.sock")):
        assert tidings("pub", "news", "1", url=url).returncode == 0
        shown = tidings("sub", "news", "--after", "earliest", "--count", "1", url=url)
        assert shown.stdout.endswith(b" news 1\n")


@pytest.mark.parametrize("command", [(), ("serve",), ("pub",), ("sub",)])
def test_help_shows_examples(command: tuple[str, ...]) -> None:
    shown = tidings(*command, "--help")
    assert shown.returncode == 0
    assert b"Examples:\n" in shown.stdout
    assert b"tidings " + " ".join(command).encode() in shown.stdout.partition(b"Examples:")[2]


def test_the_version_is_printed() -> None:
    shown = tidings("--version")
    assert shown.returncode == 0
    assert shown.stdout.strip()[:1].isdigit()


def test_a_long_line_is_written_whole_also_where_a_signal_comes_in_between() -> None:
    program = (
        "import signal; from tidings.cli.talk import print_line\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
        "print_line(b'x' * 300_000)"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        # As much as a pipe holds, and then a signal or two while it waits for room.
        time.sleep(1)
        assert process.stdout.read() == b"x" * 300_000 + b"\n"


def test_an_address_that_this_machine_does_not_have_is_said() -> None:
    ended = tidings("serve", "--host", "192.0.2.1", "--open", "--port", "0")
    assert ended.returncode == 2
    assert b"This machine has no such address" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        (("--help",), {"aiohttp", "asyncio", "rich", "tidings.server", "tidings.client"}),
        (("pub", "news", "1"), {"aiohttp", "asyncio", "rich", "tidings.server", "tidings.hub"}),
        (("sub", "news"), {"tidings.server", "tidings.hub"}),
    ],
)
def test_a_command_loads_only_what_it_needs(command: tuple[str, ...], unwanted: set[str]) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['tidings', *{command!r}]\n"
        "from tidings.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    print('\\n'.join(sys.modules))\n"
    )
    environment = {**os.environ, "TIDINGS_URL": NOBODY}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment, timeout=PATIENCE, check=True
    )
    loaded = set(ended.stdout.decode().split())
    assert "typer" in loaded
    assert not unwanted & loaded
