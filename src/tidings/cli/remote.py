"""A server elsewhere: where it is, who asks, and what `pub` and `sub` say when it fails them.

Owns: the words and the exit code of every failure that a user may meet. Does not own: the failures
(client/errors.py).
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from tidings.cli.talk import INTERRUPTED, fail

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="TIDINGS_URL",
        metavar="URL",
        help="The server: http://HOST:PORT, https://HOST:PORT or unix:PATH.",
    ),
]

# No option takes the token itself: what stands in a command line is seen by every user of the machine.
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="PATH",
        help="A file with the token, read again when it is refused. Without one: what TIDINGS_TOKEN holds.",
        show_default=False,
    ),
]
_VARIABLE: Final = "TIDINGS_TOKEN"


class TokenUnread(OSError):
    """The file with the token is not there any more, or has none."""


def token_from(path: Path | None) -> str | Callable[[], str] | None:
    """Return the token, or what reads it; None: there is none. Raises typer.BadParameter for what is none."""
    from tidings.client.token import check_token

    if path is None:
        token = os.environ.get(_VARIABLE, "").strip() or None
        try:
            return token and check_token(token)
        except ValueError as why:
            raise typer.BadParameter(f"{_VARIABLE}: {why}") from None

    def read() -> str:
        try:
            return check_token(path.read_text(encoding="ascii").strip())
        except ValueError as why:
            # Half-written, perhaps: a subscription that goes on reads it again later, as one that is away.
            raise TokenUnread(str(why)) from None
        except OSError as why:
            raise TokenUnread(*why.args) from None

    try:
        read()
    except OSError as why:
        raise typer.BadParameter(f"--token-file {path}: {why.strerror or why}") from None
    return read


@contextmanager
def failures_told(url: str, token_file: Path | None = None) -> Iterator[None]:
    """Turn every failure that a user may meet into one line and an exit code."""
    from tidings.client import BadAddress, BadAnswer, Refused, Unreachable
    from tidings.client.errors import UNTRUSTED

    try:
        yield
    except BadAddress as why:
        fail(f"{why} (--url or TIDINGS_URL)", 2)
    except Unreachable as why:
        if why.reason.startswith(UNTRUSTED):
            fail(str(why))
        fail(f"{why}. Start a server with `tidings serve`, or say with --url where one is.")
    except Refused as no:
        fail(f"refused: {no}")
    except BadAnswer as why:
        fail(f"{why}. Is {url} a Tidings server?")
    except TokenUnread as why:
        fail(f"--token-file {token_file}: {why.strerror or why}", 2)
    except BrokenPipeError:
        # Whoever read our output has had enough. What is still buffered has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
