"""A server elsewhere: how `pub` and `sub` are told where it is, and what they say when it fails them.

Owns: the words and the exit code of every failure that a user may meet. Does not own: the failures
(client/errors.py).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

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


@contextmanager
def failures_told(url: str) -> Iterator[None]:
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
    except BrokenPipeError:
        # Whoever read our output has had enough. What is still buffered has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
