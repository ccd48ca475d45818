"""What clients of others are run with: a server, a way to it that can be cut, Node and its packages.

Owns: where the packages are installed (build/interop, once). Does not own: what is tested.
"""

import fcntl
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tidings
from kit import ServerProcess, serving

HERE = Path(__file__).parent
BUILD = Path(__file__).parents[2] / "build" / "interop"
PATIENCE = 20.0


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for the tests that leave it as it was but for messages on channels of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def publish(shared: ServerProcess) -> Iterator[Callable[..., str]]:
    """`publish(channel, data, event=…)` returns the message's id."""
    with tidings.Publisher(shared.url) as publisher:
        yield lambda channel, data, **more: publisher.publish(channel, data, **more).id


class Program:
    """A running Node program that writes JSON, a line each."""

    def __init__(self, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            ["node", script, *arguments], cwd=BUILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def said(self) -> Any:
        """Return the next line, parsed."""
        return json.loads(self._lines.get(timeout=PATIENCE))

    def say(self, what: Any) -> None:
        """Write a line of JSON to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()


@pytest.fixture(scope="session")
def node() -> Callable[..., Any]:
    """`with node("ws.mjs", url) as program:` runs a script of this folder."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no `node` and `npm` on PATH: install Node.js to try the npm packages")
    BUILD.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package-lock.json").read_bytes()
    with (BUILD / "lock").open("w") as turn:
        # Tests run in several processes.
        fcntl.flock(turn, fcntl.LOCK_EX)
        installed = BUILD / "node_modules" / ".installed"
        if not installed.exists() or installed.read_bytes() != wanted:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, BUILD)
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts"], cwd=BUILD, capture_output=True, text=True, timeout=300
            )
            if done.returncode:
                pytest.skip(f"npm could not install the packages: {done.stderr[-300:]}")
            installed.write_bytes(wanted)
        for script in HERE.glob("*.mjs"):
            # Whole or not at all: another process's Node may be about to read the one that is there.
            new = BUILD / f"{script.name}.new"
            shutil.copy(script, new)
            new.replace(BUILD / script.name)

    @contextmanager
    def run(script: str, *arguments: str) -> Iterator[Program]:
        program = Program(script, *arguments)
        try:
            yield program
        finally:
            program.end()

    return run
