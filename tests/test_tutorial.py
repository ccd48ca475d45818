"""docs/tutorial.md, followed literally: from an empty folder to the working chat, in a real Chromium.

The first word after a fence is the language; a second one is the file that the block is, or the terminal in
which the command goes on running. Only the port is another. `pip install tidings` gets a wheel that is built
from this tree.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from browser.conftest import ARGUMENTS, CHROMIUM
from ports import free_port

ROOT: Final = Path(__file__).parents[1]
TUTORIAL: Final = (ROOT / "docs" / "tutorial.md").read_text()
_PART = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PATIENCE: Final = 60_000  # milliseconds; the machine may be busy

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]


def parts() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield each part's title, and its blocks: language, file or terminal, and content."""
    _, *found = _PART.split(TUTORIAL)
    for title, text in zip(found[::2], found[1::2], strict=True):
        yield title, [(block[1], block[2] or "", block[3]) for block in _BLOCK.finditer(text)]


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE / 1000
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Reader:
    """Somebody who does what the page says, in `folder`."""

    def __init__(self, folder: Path, constraint: Path) -> None:
        self.folder = folder
        self.port = str(free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self._terminals: dict[str, subprocess.Popen[bytes]] = {}
        # `tidings` is what was built here, and not what has this name elsewhere.
        self._environment = {
            **{
                name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
            },
            "PIP_CONSTRAINT": str(constraint),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "TIDINGS_URL": self.url,
        }

    def do(self, language: str, where: str, content: str) -> str:
        """Write the file, or run the commands; return what they printed."""
        content = content.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        if language != "sh":
            file = self.folder / where
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
            return ""
        if where:
            self.end(where)
            self._keep_running(where, content)
            return ""
        commands = f"set -e\n{self._activate()}{content}pwd > {self.folder}/.here\n"
        done = subprocess.run(
            ["bash", "-c", commands],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode and "pip install" in content:
            pytest.skip(f"pip cannot install what Tidings needs: {done.stderr.strip()[-300:]}")
        assert done.returncode == 0, content + done.stderr
        here = self.folder / ".here"
        self.folder = Path(here.read_text().strip())  # where `cd` has led
        here.unlink()
        return done.stdout

    def _activate(self) -> str:
        return ". .venv/bin/activate\n" if (self.folder / ".venv").is_dir() else ""

    def _keep_running(self, terminal: str, command: str) -> None:
        command = command.replace("tidings serve", f"tidings serve --port {self.port}").strip()
        self._terminals[terminal] = subprocess.Popen(
            ["bash", "-c", f"{self._activate()}exec {command}"], cwd=self.folder, env=self._environment
        )
        if terminal == "server":
            until(self._answers, "the server does not start")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.port))) == 0

    def end(self, terminal: str) -> None:
        """Press Ctrl-C in this terminal."""
        if process := self._terminals.pop(terminal, None):
            process.send_signal(signal.SIGINT)
            process.wait(_PATIENCE / 1000)

    def end_all(self) -> None:
        for terminal in list(self._terminals):
            self.end(terminal)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this tree, built in a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "examples"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            folder / "dist",
            folder,
        ],
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"pip cannot build a wheel here: {built.stderr.strip()[-300:]}")
    (found,) = (folder / "dist").glob("*.whl")
    return found


@pytest.fixture
def reader(tmp_path: Path, wheel: Path) -> Iterator[Reader]:
    constraint = tmp_path / "constraint.txt"
    constraint.write_text(f"tidings @ {wheel.as_uri()}\n")
    folder = tmp_path / "empty"
    folder.mkdir()
    reader = Reader(folder, constraint)
    yield reader
    reader.end_all()


@pytest.fixture
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no `chromium` on PATH: install Debian's chromium to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=_PATIENCE)
        yield browser
        browser.close()


def window(chromium: Browser) -> Page:
    """Open a window of somebody else's browser."""
    page = chromium.new_context().new_page()
    page.set_default_timeout(_PATIENCE)
    return page


def say(page: Page, name: str, text: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def lines(page: Page, text: str) -> None:
    """Wait until the page has this line, and make sure that it has it once."""
    expect(page.locator("#messages li", has_text=text)).to_have_count(1, timeout=_PATIENCE)


def test_it_ends_with_the_working_chat(reader: Reader, chromium: Browser) -> None:
    follow = dict(parts())

    for block in follow["1. Install it"]:
        reader.do(*block)
    assert (reader.folder / ".venv" / "bin" / "tidings").exists()
    assert reader.folder.name == "my-chat"

    printed = [reader.do(*block) for block in follow["2. A server, and two commands"]]
    assert '"hello"' in printed[2]
    assert '"hello again"' in printed[3]

    *files, serve, publish = follow["3. A page that listens"]
    for block in (*files, serve):
        reader.do(*block)
    one, other = (window(chromium) for _ in range(2))
    one.goto(reader.url)
    expect(one.locator("h1")).to_have_text("My chat", timeout=_PATIENCE)
    # The page begins with what comes from now on: it must be there first.
    wait_for_listener(reader.url)
    reader.do(*publish)
    lines(one, "hello, page")

    for block in follow["4. Say something"]:
        reader.do(*block)
    for page in (one, other):
        page.goto(reader.url)
        expect(page.locator("#state")).to_have_text("live", timeout=_PATIENCE)
    say(one, "Wren", "is <b>anybody</b> there?")
    say(other, "Swift", "I am")
    for page in (one, other):
        lines(page, "Wren: is <b>anybody</b> there?")
        lines(page, "Swift: I am")
    one.reload()
    lines(one, "Swift: I am")

    (serve,) = follow["5. Pull the plug"]
    reader.end("server")
    say(one, "Wren", "does this arrive?")
    expect(other.locator("#state")).to_have_text("recovering", timeout=_PATIENCE)
    reader.do(*serve)
    for page in (one, other):
        lines(page, "Wren: does this arrive?")
        lines(page, "can no longer be had")

    for block in follow["6. A guest in Python"]:
        reader.do(*block)
    wait_for_listener(reader.url, 3)
    say(other, "Swift", "Hello, everybody")
    for page in (one, other):
        lines(page, "greeter: Hello, Swift!")

    first, again = follow["7. Keep it"]
    reader.do(*first)
    say(one, "Wren", "to be kept")
    lines(other, "Wren: to be kept")
    reader.do(*again)
    say(other, "Swift", "kept it is")
    third = window(chromium)
    third.goto(reader.url)
    for page in (one, other, third):
        lines(page, "Wren: to be kept")
        lines(page, "Swift: kept it is")
    expect(third.locator("#messages li", has_text="can no longer")).to_have_count(0)


def wait_for_listener(url: str, count: int = 1) -> None:
    """Wait until so many listen."""

    def listening() -> bool:
        with urlopen(f"{url}/metrics") as answer:
            found = re.search(r"^tidings_live_subscribers (\d+)", answer.read().decode(), re.MULTILINE)
        return found is not None and int(found[1]) >= count

    until(listening, "nobody listens")


def test_the_wheel_has_the_demos_and_all_their_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for demo in ("chat", "game", "dashboard", "answers"):
        files = {path.name for path in (ROOT / "examples" / demo).iterdir() if path.is_file()}
        assert "index.html" in files
        assert {f"tidings/demos/{demo}/{file}" for file in files} <= names
    assert "tidings/web/vendor/uplot/LICENSE" in names


def test_every_part_with_something_to_do_is_done() -> None:
    titles = [title for title, blocks in parts() if blocks]
    assert titles == [
        "1. Install it",
        "2. A server, and two commands",
        "3. A page that listens",
        "4. Say something",
        "5. Pull the plug",
        "6. A guest in Python",
        "7. Keep it",
    ]
