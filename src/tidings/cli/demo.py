"""`tidings demo`: an application to try, in one command: the server with its page, and its program.

Owns: which demos there are, and what each is started with. Does not own: the applications (examples/, which a
wheel has as tidings/demos).
Invariant: what runs are the very commands that it says, each a process of its own; when one ends, so does the
other.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import webbrowser
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from tidings.cli.talk import fail, keep_showing

EPILOG: Final = """\b
Examples:
  tidings demo chat
  tidings demo chat --log sqlite:///chat.db      what was said is still there tomorrow
  tidings demo game --port 9000 --browser
"""

_LISTENING: Final = re.compile(r"listening on (\S+)")


class Name(StrEnum):
    """The demos there are."""

    CHAT = "chat"
    GAME = "game"
    DASHBOARD = "dashboard"
    ANSWERS = "answers"


class _Demo(NamedTuple):
    """`program` is a client of the server, in Python; `flags` are the server's."""

    program: str | None
    flags: tuple[str, ...]


_DEMOS: Final = {
    # A week of talk. Who types is worth nothing later: one note for each is kept from whoever is behind.
    Name.CHAT: _Demo(None, ("--history-age", "604800", "--slow", "typing.*=latest")),
    # Each update is the whole world: who is behind needs the newest only.
    Name.GAME: _Demo("referee.py", ("--slow", "game.world=latest")),
    # Ten minutes of readings, one each second.
    Name.DASHBOARD: _Demo("collector.py", ("--history-age", "600", "--slow", "machine.processes=latest")),
    # A message a word: some hundred answers.
    Name.ANSWERS: _Demo("generator.py", ("--history-age", "86400", "--history-count", "40000")),
}


def demo(
    name: Annotated[Name, typer.Argument(metavar="chat|game|dashboard|answers", help="Which one.")],
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The server's port; 0 picks a free one.")
    ] = 8080,
    log: Annotated[
        str | None, typer.Option(metavar="URL", help="Where messages are kept; without it, in memory.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in a browser.")] = False,
) -> None:
    """Try an application: a chat, a game in real time, a dashboard, or answers that stream.

    It starts a server with the page, and the program behind it, until Ctrl-C; and says with which commands
    it did, to do the same by hand.
    """
    folder = Path(str(files("tidings") / "demos" / name.value))
    if not folder.is_dir():
        fail(f"The demos are not installed here: there is no folder {folder}.")
    program, flags = _DEMOS[name]
    serve = ["serve", "--port", str(port), "--static", str(folder), "--drain", "0.5", *flags]
    if log is not None:
        serve += ["--log", log]
    raise typer.Exit(_run(name, serve, None if program is None else folder / program, browser=browser))


def _run(name: Name, serve: list[str], program: Path | None, *, browser: bool) -> int:
    """Run both until one ends or a signal comes; return 0 where a signal came."""
    processes: list[subprocess.Popen[str]] = []
    told = False

    def end(*_: object) -> None:
        nonlocal told
        told = True
        for process in processes:
            if process.poll() is None:
                process.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # In groups of their own: Ctrl-C is for us, and each is told to stop once.
    server = _start("-m", "tidings", *serve)
    processes.append(server)
    url = _wait_for_address(server)
    if url is not None:
        assert server.stderr is not None
        keep_showing(server.stderr)
        commands = [shlex.join(["tidings", *serve])]
        if program is not None and not told:
            run = [str(program), "--url", url]
            processes.append(_start(*run, errors=None))
            commands.append(shlex.join(["python", *run]))
        by_hand = "".join(f"\n    {command}" for command in commands)
        typer.echo(f"\n  {name.value}: {url}/\n\n  Ctrl-C ends it. By hand it is:\n{by_hand}\n", err=True)
        if browser:
            webbrowser.open(url)
        # Whichever ends first; it is left to be reaped below.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    stopped = told
    end()
    codes = [process.wait() for process in processes]
    return 0 if stopped else next((abs(code) for code in codes if code), 1)


def _start(*command: str, errors: int | None = subprocess.PIPE) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - this very Python, and a file of our own
        [sys.executable, *command], stderr=errors, text=True, process_group=0
    )


def _wait_for_address(server: "subprocess.Popen[str]") -> str | None:
    """Return the address that the server says it listens on; None when it ended without."""
    assert server.stderr is not None
    for line in server.stderr:
        if found := _LISTENING.search(line):
            return found[1]
        typer.echo(line, nl=False, err=True)
    return None
