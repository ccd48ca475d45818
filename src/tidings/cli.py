"""The commands: serve, pub, sub.

Owns: options, what is printed where, exit codes. Does not own: anything that a program could want, too.
Invariant: standard output carries data only, and standard error what is said about it; an expected failure is
one line that says what to do, never a traceback. Exit codes: 0 done, 1 refused or failed, 2 wrong usage,
130 interrupted.

Each command imports what it needs when it runs: `pub` never loads the server, and `--help` loads neither.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from tidings.core import limits

if TYPE_CHECKING:
    from rich.console import Console

    from tidings.client import Gap, Message, Publisher, State
    from tidings.core.patterns import SlowPolicy

app = typer.Typer(
    name="tidings",
    help="Real-time messaging: one log, one cursor, four transports.",
    # Plain help: it reads the same in a terminal, a pipe and a document, and loads in half the time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  tidings serve
  tidings sub news
  tidings pub news '{"n":1}'
""",
)

# One line of standard input. The server takes far less; this keeps a file without line ends out of memory.
LINE_BYTES: Final = 16 * 1024 * 1024
INTERRUPTED: Final = 130

# One colour and one shape a transport, as on every page; the shape is what remains where there is no colour.
_MARKS: Final = {
    "polling": ("#F0B43C", "○"),
    "long-polling": ("#DD8FBE", "◐"),
    "sse": ("#3CC79E", "▸"),
    "websocket": ("#56B4E9", "●"),
}


class TransportName(StrEnum):
    """The ways to wait that `sub` knows."""

    AUTO = "auto"
    WEBSOCKET = "websocket"
    SSE = "sse"
    LONG_POLLING = "long-polling"
    POLLING = "polling"


class LogLevel(StrEnum):
    """How much the server says of what it does."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="TIDINGS_URL",
        metavar="URL",
        help="The server: http://HOST:PORT, https://HOST:PORT or unix:PATH.",
    ),
]


def main() -> None:
    """Run the command that the command line names."""
    app(prog_name="tidings")


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer hands the flag over by its place
    if wanted:
        from tidings.version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _tidings(
    *,
    _wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="""\b
Examples:
  tidings serve                                  on this machine only: http://127.0.0.1:8080
  tidings serve --port 9000
  tidings serve --uds /run/tidings.sock          behind a proxy on the same machine
  tidings serve --slow 'prices.*=latest'         who is behind hears the newest price of each key
  tidings serve --host 0.0.0.0 --open --tls-cert cert.pem --tls-key key.pem
""",
)
def serve(
    *,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="The address to listen on; any but this machine's own needs --open."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port; 0 picks a free one.")
    ] = 8080,
    uds: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Listen on a Unix socket instead of a port.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate chain, PEM; needs --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key, PEM.")] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let everybody who can reach the address publish and subscribe.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Let pages of this origin connect, too; may be given several times."
        ),
    ] = None,
    drain: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SECONDS", help="Spread the closing of connections over this time."),
    ] = None,
    connections: Annotated[
        int, typer.Option(min=1, metavar="N", help="Connections at most; more are told to come back later.")
    ] = limits.CONNECTIONS,
    history_count: Annotated[
        int, typer.Option(min=1, metavar="N", help="Messages kept of each channel.")
    ] = limits.HISTORY_COUNT,
    history_age: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="How long messages are kept.")
    ] = limits.HISTORY_AGE,
    history_bytes: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="Memory that all kept messages may take together.")
    ] = limits.HISTORY_BYTES,
    slow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=POLICY",
            help="For readers that are behind: resume, latest (the newest per key) or close; several times.",
        ),
    ] = None,
    public: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Channels whose answers a shared cache may keep; several times."
        ),
    ] = None,
    public_cache: Annotated[
        float, typer.Option(min=0.0, max=3600.0, metavar="SECONDS", help="How long it may keep them.")
    ] = 0.0,
    log_level: Annotated[
        LogLevel, typer.Option(metavar="debug|info|warning|error", help="What is logged to standard error.")
    ] = LogLevel.INFO,
) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    When it is ready it says where it listens. Messages are kept in memory and are gone when it ends.
    """
    from tidings.core.errors import SettingsError

    try:
        from tidings.server.app import run
        from tidings.server.config import Settings

        settings = Settings(
            host=host,
            port=port,
            uds=None if uds is None else str(uds),
            tls_cert=None if tls_cert is None else str(tls_cert),
            tls_key=None if tls_key is None else str(tls_key),
            open=open_,
            origins=tuple(allow_origin or ()),
            drain=drain,
            connections=connections,
            history_count=history_count,
            history_age=history_age,
            history_bytes=history_bytes,
            slow=tuple(_slow_rule(rule) for rule in slow or ()),
            public=tuple(public or ()),
            public_cache=public_cache,
            log_level=log_level.value,
        )
        code = run(settings)
    except SettingsError as why:
        _fail(str(why), 2)
    raise typer.Exit(code)


def _slow_rule(rule: str) -> "tuple[str, SlowPolicy]":
    from tidings.core.errors import SettingsError
    from tidings.core.patterns import SlowPolicy

    pattern, separator, policy = rule.rpartition("=")
    if not separator or policy not in list(SlowPolicy):
        known = ", ".join(SlowPolicy)
        raise SettingsError(
            f"--slow takes PATTERN=POLICY with a policy of {known}, like 'prices.*=latest'; not {rule!r}."
        )
    return pattern, SlowPolicy(policy)


@app.command(
    epilog="""\b
Examples:
  tidings pub news '{"n":1}'
  tidings pub chat hello                         not JSON, so it is sent as the string "hello"
  tidings pub chat --text 42                     the string "42", not the number
  tidings pub prices 101.5 --event trade --key ACME
  vmstat -n 1 | tidings pub machine -            every line becomes a message
""",
)
def pub(
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="The channel's name.", show_default=False)
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|-",
            help="The message: JSON, or else text; - sends each line of standard input.",
            show_default=False,
        ),
    ],
    *,
    url: Url = "http://127.0.0.1:8080",
    event: Annotated[
        str | None, typer.Option(metavar="NAME", help="What kind of message it is.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Which state it is the newest value of.", show_default=False),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Publish once, however often this is run with the same key."),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Send DATA as a string, whatever it looks like.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Refuse DATA that is not JSON.")] = False,
) -> None:
    """Publish a message, and print its id.

    Where the answer is lost on the way it is asked for again, and the message is still published once.
    """
    if text and json:
        raise typer.BadParameter("--text and --json exclude each other")
    if data == "-" and idempotency_key is not None:
        raise typer.BadParameter("one --idempotency-key cannot stand for many lines")
    from tidings.client import Publisher

    as_json = _AsJson(text=text, json=json)
    with _failures_told(url), Publisher(url) as publisher:
        if data == "-":
            _publish_lines(publisher, channel, as_json, event, key)
        else:
            try:
                body = as_json(data)
            except ValueError as why:
                raise typer.BadParameter(f"DATA is not JSON: {why}") from None
            receipt = publisher.publish(channel, body, event=event, key=key, idempotency_key=idempotency_key)
            _print(receipt.id.encode())
            if receipt.duplicate:
                typer.echo("published before under this key; nothing new was sent", err=True)


@app.command(
    epilog="""\b
Examples:
  tidings sub news
  tidings sub news,chat --transport sse
  tidings sub news --rewind 20                   the last 20 messages, then what comes
  tidings sub news --after 9f3k-1042             what follows that message
  tidings sub news --json --count 1 | jq .data
""",
)
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
    json: Annotated[bool, typer.Option("--json", help="Print each message's JSON as it came.")] = False,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N messages.", show_default=False)
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="Time between two polls; for polling only.")
    ] = 1.0,
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

    talk = _Talk(url, quiet=quiet)
    show = _as_json_line if json else _as_line
    with _failures_told(url):
        try:
            feed = follow(
                url,
                channels,
                transport=transport.value,
                after=after,
                rewind=rewind,
                interval=interval,
                persist=False,
                on_state=talk.state,
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
                    _print(show(item))
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


def _as_line(message: "Message") -> bytes:
    """Return a message for people: when, where, which event, and the data on one line."""
    seconds, ms = divmod(message.time_ms, 1000)
    when = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ms:03}"
    words = [when, message.channel, message.event or "", f"[{message.key}]" if message.key else ""]
    data = message.data_json.decode(errors="replace")
    return _harmless(" ".join([*filter(None, words), data])).encode()


def _as_json_line(message: "Message") -> bytes:
    """Return a message as it came. Line ends can only stand between tokens, where a space means the same."""
    return message.json.translate(_ONE_LINE)


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
# What steers a terminal or turns the writing around: all controls, and Unicode's line and direction marks.
_STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _harmless(text: str) -> str:
    """Return text from elsewhere so that it stays on one line and cannot steer the terminal."""
    return _STEERING.sub(lambda mark: " " if mark[0] in "\t\r\n" else f"\\u{ord(mark[0]):04x}", text)


def _print(line: bytes) -> None:
    """Write one line of data, at once: what reads it may wait for it."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


class _AsJson:
    """What a text on the command line or a line of standard input becomes."""

    def __init__(self, *, text: bool, json: bool) -> None:
        self._text = text
        self._json = json

    def __call__(self, given: str) -> bytes:
        """Return JSON text; raises ValueError where JSON is demanded and this is none."""
        import json

        if not self._text:
            try:
                json.loads(given, parse_constant=_no_such_constant)
            except (ValueError, RecursionError) as why:
                if self._json:
                    raise ValueError(str(why)) from None
            else:
                return given.encode()
        # A byte of the command line that is no UTF-8 has become half a character, which no JSON may hold.
        return json.dumps(given.encode(errors="surrogateescape").decode(errors="replace")).encode()


def _no_such_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _publish_lines(
    publisher: "Publisher", channel: str, as_json: Callable[[str], bytes], event: str | None, key: str | None
) -> None:
    """Publish every line of standard input; the first that cannot be sent ends it."""
    sent = 0
    while line := sys.stdin.buffer.readline(LINE_BYTES):
        if not line.endswith(b"\n") and len(line) == LINE_BYTES:
            _fail(f"line {sent + 1} is longer than {LINE_BYTES} bytes; {_sent(sent)}")
        try:
            body = as_json(line.removesuffix(b"\n").removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            _fail(f"line {sent + 1} is not UTF-8; {_sent(sent)}")
        except ValueError as why:
            _fail(f"line {sent + 1} is not JSON: {why}; {_sent(sent)}")
        try:
            receipt = publisher.publish(channel, body, event=event, key=key)
        except Exception:
            if sent:
                typer.echo(f"line {sent + 1} failed; {_sent(sent)}", err=True)
            raise
        sent += 1
        _print(receipt.id.encode())


def _sent(lines: int) -> str:
    return f"{lines} sent before it"


def _fail(text: str, code: int = 1) -> NoReturn:
    """Say in one line what went wrong, and end."""
    typer.echo(f"tidings: {_harmless(text)}", err=True)
    raise typer.Exit(code)


@contextmanager
def _failures_told(url: str) -> Iterator[None]:
    """Turn every failure that a user may meet into one line and an exit code."""
    from tidings.client import BadAddress, BadAnswer, Refused, Unreachable
    from tidings.client.errors import UNTRUSTED

    try:
        yield
    except BadAddress as why:
        _fail(f"{why} (--url or TIDINGS_URL)", 2)
    except Unreachable as why:
        if why.reason.startswith(UNTRUSTED):
            _fail(str(why))
        _fail(f"{why}. Start a server with `tidings serve`, or say with --url where one is.")
    except Refused as no:
        _fail(f"refused: {no}")
    except BadAnswer as why:
        _fail(f"{why}. Is {url} a Tidings server?")
    except BrokenPipeError:
        # Whoever read our output has had enough. What is still buffered has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


class _Talk:
    """What `sub` says on standard error."""

    def __init__(self, url: str, *, quiet: bool) -> None:
        self._url = url
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
        line = Text(_harmless(text))
        if transport in _MARKS:
            colour, shape = _MARKS[transport]
            line = Text.assemble((shape, colour), " ", line)
        self._console.print(line)

    def state(self, state: "State") -> None:
        """Say how the connection stands."""
        match state.name:
            case "connected":
                self.say(f"connected over {state.transport} to {self._url}", state.transport)
            case "waiting":
                when = f"in {state.wait:.1f} s" if state.wait >= 0.05 else "now"
                self.say(f"cut: {state.reason}; again {when} over {state.transport}")

    def gap(self, gap: "Gap") -> None:
        """Say that messages are missing, which, and why."""
        self.say(
            f"gap on {gap.channel}: {_REASONS.get(gap.reason, gap.reason)}; "
            f"messages between {gap.after} and {gap.resumed} can no longer be had"
        )


_REASONS: Final = {
    "retention": "some messages are no longer kept",
    "epoch": "the server began a new log",
    "ahead": "the cursor is ahead of the server's log",
    "cursor": "that is not a cursor of this server",
}
