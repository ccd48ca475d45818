"""The commands: serve, pub, sub, lab, demo.

Owns: which commands there are, and where the program begins; each command is a file of its own. Does not own:
anything that a program could want, too.
Invariant: standard output carries data only, and standard error what is said about it; an expected failure is
one line that says what to do, never a traceback. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or a
server that cannot start, 130 interrupted.

Each command imports what it needs when it runs: `pub` never loads the server, and `--help` loads neither.
"""

from typing import Annotated

import typer

from tidings.cli import demo, lab, pub, serve, sub

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
  tidings lab
  tidings demo chat
""",
)


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


app.command(epilog=serve.EPILOG)(serve.serve)
app.command(epilog=pub.EPILOG)(pub.pub)
app.command(epilog=sub.EPILOG)(sub.sub)
app.command(epilog=lab.EPILOG)(lab.lab)
app.command(epilog=demo.EPILOG)(demo.demo)
