"""Who `tidings pub` and `tidings sub` are: a token from a file or the environment, on every request.

The peer is a server of a few lines that takes one token and keeps what it was asked with.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from tidings.cli.remote import failures_told, token_from
from tidings.client import Publisher

TIDINGS = [sys.executable, "-m", "tidings"]


class Guarded(ThreadingHTTPServer):
    """Takes the token `good`; `asked` are the headers that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Guarded

    def do_GET(self) -> None:
        message = {"id": "e-1", "channel": "news", "time": 1, "data": "told"}
        self.answer(200, {"messages": [message], "cursor": "e-1"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, {"id": "e-7", "durability": "memory"})

    def answer(self, status: int, body: object) -> None:
        given = self.headers["Authorization"]
        self.server.asked.append(given)
        if given != "Bearer good":
            status, body = 401, {"code": "bad_token", "status": 401, "detail": "No.", "retry": False}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    server = Guarded()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


PUB = ("pub", "news", "hello")
SUB = ("sub", "news", "--transport", "polling", "--count", "1", "--json")
both = pytest.mark.parametrize("command", [PUB, SUB], ids=["pub", "sub"])


def run(url: str, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDINGS_URL": url, "COLUMNS": "200"}
    environment.pop("TIDINGS_TOKEN", None)
    if token is not None:
        environment["TIDINGS_TOKEN"] = token
    return subprocess.run(
        [*TIDINGS, *arguments], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@both
def test_a_token_of_the_environment_goes_with_the_request(guarded: Guarded, command: tuple[str, ...]) -> None:
    done = run(guarded.url, *command, token="good\n")
    assert done.returncode == 0, done.stderr
    assert set(guarded.asked) == {"Bearer good"}


@both
def test_a_token_of_a_file_counts_before_the_environments(
    guarded: Guarded, command: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("good\n")
    done = run(guarded.url, *command, "--token-file", str(file), token="another")
    assert done.returncode == 0, done.stderr
    assert set(guarded.asked) == {"Bearer good"}


@both
def test_without_one_none_is_sent(guarded: Guarded, command: tuple[str, ...]) -> None:
    done = run(guarded.url, *command)
    assert done.returncode == 1
    assert "bad_token" in done.stderr or "No." in done.stderr
    assert set(guarded.asked) == {None}


@both
@pytest.mark.parametrize("text", ["no token at all", "", "good\r\nX-Other: 1", "\u00fc"])
def test_what_is_no_token_is_refused_and_not_repeated(
    guarded: Guarded, command: tuple[str, ...], text: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    done = run(guarded.url, *command, "--token-file", str(file))
    assert done.returncode == 2
    assert "--token-file" in done.stderr
    assert not text or text not in done.stderr
    assert guarded.asked == []


@pytest.mark.parametrize("then", ["", None], ids=["empty", "gone"])
def test_a_file_that_has_no_token_when_it_is_read_again_is_named(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str], then: str | None
) -> None:
    """It is read when it is checked, and again when it is used; `<(…)` of a shell gives it but once."""
    file = tmp_path / "token"
    file.write_text("good")
    token = token_from(file)
    if then is None:
        file.unlink()
    else:
        file.write_text(then)
    with (
        pytest.raises(typer.Exit) as ended,
        failures_told(guarded.url, file),
        Publisher(guarded.url, token=token) as publisher,
    ):
        publisher.publish("news", 1)
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert f"--token-file {file}: " in said
    assert ("No such file" if then is None else "that is no token") in said
    assert guarded.asked == []


@both
def test_a_file_that_is_not_there_is_named(
    guarded: Guarded, command: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(guarded.url, *command, "--token-file", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "No such file" in done.stderr
    assert guarded.asked == []
