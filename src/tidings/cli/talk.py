"""What a command writes: data to standard output, talk to standard error.

Owns: both ends, and that text from elsewhere cannot steer the terminal. Does not own: what is worth saying.
"""

import re
import signal
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tidings.client import Gap

INTERRUPTED: Final = 130

# One colour and one shape a transport, as on every page; the shape is what remains where there is no colour.
_MARKS: Final = {
    "polling": ("#F0B43C", "○"),
    "long-polling": ("#DD8FBE", "◐"),
    "sse": ("#3CC79E", "▸"),
    "websocket": ("#56B4E9", "●"),
}

_REASONS: Final = {
    "retention": "some messages are no longer kept",
    "epoch": "the server began a new log",
    "ahead": "the cursor is ahead of the server's log",
    "cursor": "that is not a cursor of this server",
}

# What steers a terminal or turns the writing around: all controls, and Unicode's line and direction marks.
_STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def print_line(line: bytes) -> None:
    """Write one line of data, at once and all of it: what reads it may wait for it.

    Unbuffered (PYTHONUNBUFFERED), a write that a signal interrupts takes only a part, and says so.
    """
    rest = memoryview(line + b"\n")
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def fail(text: str, code: int = 1) -> NoReturn:
    """Say in one line what went wrong, and end."""
    typer.echo(f"tidings: {harmless(text)}", err=True)
    raise typer.Exit(code)


def harmless(text: str) -> str:
    """Return text from elsewhere so that it stays on one line and cannot steer the terminal."""
    return _STEERING.sub(lambda mark: " " if mark[0] in "\t\r\n" else f"\\u{ord(mark[0]):04x}", text)


def keep_showing(said: Iterable[str]) -> None:
    """Pass on what another process of ours says, in a thread, so that its pipe never fills.

    No signal is for that thread. It could take one that comes while we are suspended (Ctrl-Z), and the main
    thread, which is to act on it, would go on waiting.
    """

    def pass_on() -> None:
        for line in said:
            typer.echo(line, nl=False, err=True)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=pass_on, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Talk:
    """What `sub` says on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console: Console | None = None

    def say(self, text: str, transport: str | None = None) -> None:
        """Say one line, with the transport's mark before it."""
        if self._quiet:
            return
        from rich.console import Console
        from rich.text import Text

        if self._console is None:
            self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        line = Text(harmless(text))
        if transport in _MARKS:
            colour, shape = _MARKS[transport]
            line = Text.assemble((shape, colour), " ", line)
        self._console.print(line)

    def gap(self, gap: "Gap") -> None:
        """Say that messages are missing, which, and why."""
        self.say(
            f"gap on {gap.channel}: {_REASONS.get(gap.reason, gap.reason)}; "
            f"messages between {gap.after} and {gap.resumed} can no longer be had"
        )
