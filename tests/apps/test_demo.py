"""`tidings demo`: one command that starts all there is, says how, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest

from apps.stage import Demo, runs

NAMES = ["chat", "game", "dashboard", "answers"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_serves_the_page_and_ends_whole(name: str) -> None:
    demo = Demo(name)
    with demo:
        with urlopen(demo.url + "/") as answer:
            page = answer.read().decode()
        assert "<!doctype html>" in page
        assert "<style" not in page
        assert " style=" not in page
        assert "<script>" not in page
        children = demo.children()
        assert len(children) == (1 if name == "chat" else 2)
        assert demo.stop() == 0
    assert [pid for pid in children if runs(pid)] == []
    assert "Traceback" not in "".join(demo.said)


@pytest.mark.slow
def test_when_the_program_ends_so_does_the_server() -> None:
    demo = Demo("dashboard")
    with demo:
        server, program = sorted(demo.children())
        os.kill(program, signal.SIGKILL)
        assert demo.wait() != 0
    assert not runs(server)


def test_a_port_that_is_taken_is_said_in_a_line() -> None:
    with Demo("chat") as demo:
        port = demo.url.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-m", "tidings", "demo", "chat", "--port", port],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert port in done.stderr


def test_a_demo_that_is_not_there_names_those_that_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidings", "demo", "chess"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)
