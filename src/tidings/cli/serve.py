"""`tidings serve`: the server, with the settings that its flags stand for.

Owns: the flags. Does not own: what the settings mean, or which of them fit together (server/config.py).
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tidings.cli.talk import fail
from tidings.core import limits

if TYPE_CHECKING:
    from tidings.core.patterns import SlowPolicy

EPILOG: Final = """\b
Examples:
  tidings serve                                  on this machine only: http://127.0.0.1:8080
  tidings serve --port 9000
  tidings serve --static page                    a folder's index.html at /, beside the channels
  tidings serve --uds /run/tidings.sock          behind a proxy on the same machine
  tidings serve --workers 4                      four cores, one log
  tidings serve --slow 'prices.*=latest'         who is behind hears the newest price of each key
  tidings serve --host 0.0.0.0 --open --tls-cert cert.pem --tls-key key.pem
"""


class LogLevel(StrEnum):
    """How much the server says of what it does."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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
    static: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Serve this folder's files, too; its index.html is the first page."),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let everybody who can reach the address publish and subscribe.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Let pages of this origin connect, too; may be given several times."
        ),
    ] = None,
    log: Annotated[
        str,
        typer.Option(
            envvar="TIDINGS_LOG",
            metavar="URL",
            help="Where messages are kept: memory://, sqlite:///FILE, redis://… or nats://…",
        ),
    ] = "memory://",
    partitions: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Split a log in Redis or NATS over N streams; the same at every server."
        ),
    ] = 1,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes that share the work; one a core is right.")
    ] = 1,
    drain: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Spread the closing of connections over this time.",
            show_default=f"{limits.DRAIN:g}",
        ),
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

    When it is ready it says where it listens. Unless --log says otherwise, messages are kept in memory
    and are gone when it ends.
    """
    from tidings.core.errors import SettingsError

    try:
        from tidings.server.app import run
        from tidings.server.config import Settings

        settings = Settings(
            host=host,
            port=port,
            uds=None if uds is None else str(uds),
            static=None if static is None else str(static),
            tls_cert=None if tls_cert is None else str(tls_cert),
            tls_key=None if tls_key is None else str(tls_key),
            open=open_,
            origins=tuple(allow_origin or ()),
            log=log,
            partitions=partitions,
            workers=workers,
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
        fail(str(why), 2)
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
