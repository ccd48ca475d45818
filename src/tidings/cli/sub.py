"""`tidings sub`: the messages of channels as lines, as they come.

Owns: the flags, the form of a line, and what is said of the connection. Does not own: connecting, and coming
back (client/supervisor.py).
"""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tidings.cli.remote import TokenFile, Url, failures_told, token_from
from tidings.cli.talk import INTERRUPTED, Talk, harmless, print_line

if TYPE_CHECKING:
    from tidings.client import Message, State

EPILOG: Final = """\b
Examples:
  tidings sub news
  tidings sub news,chat --transport sse
  tidings sub news --rewind 20                   the last 20 messages, then what comes
  tidings sub news --after 9f3k-1042             what follows that message
  tidings sub news --json --count 1 | jq .data
"""


class TransportName(StrEnum):
    """The transports that `sub` knows."""

    AUTO = "auto"
    WEBSOCKET = "websocket"
    SSE = "sse"
    LONG_POLLING = "long-polling"
    POLLING = "polling"


def sub(
    channels: Annotated[
        str,
        typer.Argument(
            metavar="CHANNELS", help="One channel, or several with commas between.", show_default=False
        ),
    ],
    *,
    transport: Annotated[
        TransportName,
        typer.Option(
            metavar="auto|websocket|sse|long-polling|polling",
            help="How to wait; auto takes the first of them that gets through.",
        ),
    ] = TransportName.AUTO,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR", help="Begin behind this message's id; or: earliest.", show_default=False
        ),
    ] = None,
    rewind: Annotated[
        str | None,
        typer.Option(
            metavar="N|Ns", help="Begin that many messages (20) or seconds (30s) back.", show_default=False
        ),
    ] = None,
    url: Url = "http://127.0.0.1:8080",
    token_file: TokenFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print each message's JSON as it came.")] = False,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N messages.", show_default=False)
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            metavar="SECONDS",
            help="Time between two polls; for polling only. Without it: as the server advises.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing of connections and gaps.")
    ] = False,
) -> None:
    """Print the messages of channels as they come, one a line.

    What is said of connections and gaps goes to standard error. A connection that is cut is begun again
    where it ended.
    """
    import asyncio

    from tidings.client import Message, follow

    talk = Talk(quiet=quiet)
    show = _as_json_line if json else _as_line
    token = token_from(token_file)
    with failures_told(url):
        try:
            feed = follow(
                url,
                channels,
                transport=transport.value,
                token=token,
                after=after,
                rewind=rewind,
                interval=interval,
                persist=False,
                on_state=lambda state: _say(talk, url, state),
            )
        except ValueError as why:
            raise typer.BadParameter(str(why)) from None

        async def print_all() -> None:
            left = count
            async with feed:
                async for item in feed:
                    if not isinstance(item, Message):
                        talk.gap(item)
                        continue
                    print_line(show(item))
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return

        try:
            asyncio.run(print_all())
        except KeyboardInterrupt:
            if feed.cursor is not None:
                talk.say(f"to go on from here: --after {feed.cursor}")
            raise typer.Exit(INTERRUPTED) from None


def _say(talk: Talk, url: str, state: "State") -> None:
    """Say that the connection has come, or that it has gone and why."""
    if state.name == "live":
        talk.say(f"connected over {state.transport} to {url}", state.transport)
    elif state.reason and state.name in {"connecting", "recovering", "offline"}:
        what = "cut" if state.name == "recovering" else "not connected"
        when = f"in {state.wait:.1f} s" if state.wait >= 0.05 else "now"
        talk.say(f"{what}: {state.reason.rstrip('.')}; again {when} over {state.transport}")


def _as_line(message: "Message") -> bytes:
    """Return a message for people: when, where, which event, and the data on one line."""
    seconds, ms = divmod(message.time_ms, 1000)
    when = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ms:03}"
    words = [when, message.channel, message.event or "", f"[{message.key}]" if message.key else ""]
    data = message.data_json.decode(errors="replace")
    return harmless(" ".join([*filter(None, words), data])).encode()


def _as_json_line(message: "Message") -> bytes:
    """Return a message as it came. Line ends can only stand between tokens, where a space means the same."""
    return message.json.translate(_ONE_LINE)


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
