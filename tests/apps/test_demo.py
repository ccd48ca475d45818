"""`tidings demo`: one command that starts all there is, says how, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from apps.stage import Demo, runs
from ports import free_port

SERVE = Path(__file__).parents[2] / "examples" / "serve.py"
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


def threads_that_take(number: signal.Signals, pid: int) -> list[str]:
    """Return the threads of a process to which the kernel may give that signal."""
    taking = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        (blocked,) = re.findall(r"^SigBlk:\s(\w+)$", (task / "status").read_text(), re.MULTILINE)
        if not int(blocked, 16) >> (number - 1) & 1:
            taking.append(task.name)
    return taking


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_to_the_thread_that_waits_for_it(number: signal.Signals) -> None:
    """One that comes while all is suspended, as by Ctrl-Z, may be given to any thread that takes it."""
    with Demo("chat") as demo:
        assert threads_that_take(number, demo.pid) == [str(demo.pid)]


def test_a_signal_to_the_server_with_its_feed_comes_to_the_thread_that_waits_for_it() -> None:
    command = [sys.executable, str(SERVE), "--port", str(free_port())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        try:
            while "Ctrl-C ends" not in process.stdout.readline():
                assert process.poll() is None
            for number in (signal.SIGINT, signal.SIGTERM):
                assert threads_that_take(number, process.pid) == [str(process.pid)]
        finally:
            process.terminate()


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
