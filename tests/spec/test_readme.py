"""The README's commands, against a real server: what a reader copies works.

Each block is run as it stands, only on a free port instead of 8080.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest
from playwright.sync_api import sync_playwright

from kit import ServerProcess
from tidings.logs import open_log
from tidings.server.config import Settings

pytestmark = pytest.mark.timeout(300)
ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CHROMIUM_ARGUMENTS: Final = [
    "--no-sandbox",  # the tests may run as root, and load nothing but our own pages
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]
PATIENCE: Final = 60.0  # seconds; a busy machine takes its time
BLOCKS: Final = [(found[1], found[2]) for found in _BLOCK.finditer(README)]


def lines(*words: str) -> list[str]:
    """Return the shell commands that have one of `words`."""
    commands = [
        line.split("  #")[0].rstrip()
        for language, block in BLOCKS
        for line in block.splitlines()
        if language == "sh"
    ]
    return [line for line in commands if any(word in line for word in words)]


READING: Final = lines("wait=", "Accept:", "websockets ws:", "tidings sub")
(HELLO,) = lines("""'"hello"'""")
PUBLISHING: Final = [line for line in lines("tidings pub", "--json", "text/plain") if line != HELLO]
POLLING: Final = lines("rewind=1")
SERVING: Final = lines("tidings serve")
PYTHON: Final = [block for language, block in BLOCKS if language == "python"]


def here(server: ServerProcess, text: str) -> str:
    return text.replace("127.0.0.1:8080", f"{server.host}:{server.port}")


def surroundings(server: ServerProcess) -> dict[str, str]:
    """Return the environment after `. .venv/bin/activate`, with the server where `tidings` looks for it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TIDINGS_URL": server.url, "PYTHONUNBUFFERED": "1"}


def need(command: str) -> None:
    """Skip the test where this machine has not what `command` is for."""
    program = command.split()[0]
    if program == "curl" and shutil.which(program) is None:
        pytest.skip("no `curl` on PATH: install Debian's curl to try the README's curl lines")


def run(server: ServerProcess, command: str) -> str:
    need(command)
    done = subprocess.run(
        ["bash", "-c", here(server, command)],
        env=surroundings(server),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(server: ServerProcess, command: str, output: Path) -> Iterator[Callable[[], str]]:
    """Run `command` in a terminal's stead; yield what it has written so far, as a function."""
    need(command)
    with (
        output.open("w") as out,
        subprocess.Popen(
            ["bash", "-c", here(server, command)],
            env=surroundings(server),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield output.read_text
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def listening(server: ServerProcess) -> bool:
    """Whether a subscriber waits for messages."""
    with urlopen(f"{server.url}/metrics") as answer:
        return "tidings_live_subscribers 1.0" in answer.read().decode()


def kept(server: ServerProcess) -> list[object]:
    with urlopen(f"{server.url}/channels/news?after=earliest") as answer:
        return [message["data"] for message in json.load(answer)["messages"]]


def test_the_readme_has_what_is_tested_here() -> None:
    assert len(READING) == 4
    assert len(POLLING) == 1
    assert len(PUBLISHING) == 4
    assert len(PYTHON) == 2
    # And nothing that is not, but the two commands that do everything, and servers on other logs.
    assert len(SERVING) == 4
    assert len(lines("")) - len([line for line in lines("") if not line]) == 4 + 1 + 1 + 4 + 2 + 4


@pytest.mark.parametrize("command", SERVING)
def test_the_servers_that_it_names_are_options_of_serve(command: str) -> None:
    """Each kind of log is started in tests of its own; here: that what is written is what `serve` takes."""
    words = command.split()
    settings = dict(zip(words[2::2], words[3::2], strict=True))
    log = settings.get("--log", "memory://")
    Settings(log=log, workers=int(settings.get("--workers", "1"))).check()
    open_log(log)


@pytest.mark.parametrize("command", READING)
def test_who_listens_hears_what_is_published(server: ServerProcess, command: str, tmp_path: Path) -> None:
    with running(server, command, tmp_path / "heard") as heard:
        until(lambda: listening(server), f"nobody listens: {command}")
        run(server, PUBLISHING[0])
        until(lambda: "news" in heard() and re.search(r'\{"n":1\}', heard()) is not None, heard())


@pytest.mark.parametrize("command", PUBLISHING)
def test_what_is_published_is_there(server: ServerProcess, command: str) -> None:
    run(server, command)
    expected = {'{"n":1}': [{"n": 1}], "seq 3": [1, 2, 3], '{"n":3}': [{"n": 3}], "hello": ["hello"]}
    assert kept(server) == next(data for word, data in expected.items() if word in command)


def test_a_poll_finds_the_last_message(server: ServerProcess) -> None:
    for command in PUBLISHING:
        run(server, command)
    (message,) = json.loads(run(server, POLLING[0]))["messages"]
    assert message["data"] == "hello"


def test_python_publishes_and_reads(server: ServerProcess) -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", here(server, block)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
        for block in PYTHON
    ]
    assert kept(server) == [{"n": 2}]
    assert said[0].strip() in said[1]


@pytest.mark.browser
def test_a_page_hears_what_is_published(server: ServerProcess) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no `chromium` on PATH: install Debian's chromium to run the browser tests")
    block, _ = (block for language, block in BLOCKS if language == "js")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=CHROMIUM_ARGUMENTS, timeout=PATIENCE * 1000
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{server.url}/livez")  # no feeds of its own
        with page.expect_console_message(lambda said: said.text == "live websocket"):
            page.evaluate(f"async () => {{ {block} }}")
        with page.expect_console_message(lambda said: said.text == "hello"):
            run(server, HELLO)
        browser.close()


@pytest.mark.browser
def test_a_browser_needs_no_library(server: ServerProcess) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no `chromium` on PATH: install Debian's chromium to run the browser tests")
    _, block = (block for language, block in BLOCKS if language == "js")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=CHROMIUM_ARGUMENTS, timeout=PATIENCE * 1000
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        # The pages' own feeds would be heard, too: a path with nothing on it is of the same origin.
        page.goto(f"{server.url}/livez")
        heard: list[str] = []
        page.on("console", lambda said: heard.append(json.dumps([arg.json_value() for arg in said.args])))
        run(server, PUBLISHING[0])
        for line in block.splitlines():
            page.evaluate(f"() => {{ {line} }}")
        page.wait_for_function(
            "fetch('/metrics').then(r => r.text()).then(t => /live_subscribers 2/.test(t))"
        )

        def wait_until(true: Callable[[], bool]) -> None:
            deadline = time.monotonic() + PATIENCE
            while not true() and time.monotonic() < deadline:
                page.wait_for_timeout(20)

        wait_until(lambda: any('{"n": 1}' in text for text in heard))  # the poll is to find the first
        run(server, PUBLISHING[2])
        wait_until(lambda: len(heard) >= 4)
        browser.close()
    polled, streamed = ([text for text in heard if word in text] for word in ('{"n": 1}', '\\"n\\":3'))
    # fetch: the answer with the last message; EventSource: the message; WebSocket: `ready`, then the message.
    assert len(polled) == 1, heard
    assert len(streamed) == 2, heard
