"""`tidings lab`: the four transports side by side, measured on this machine.

Owns: the flags, and what is printed and drawn. Does not own: the measuring (lab/).
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from tidings.cli.talk import INTERRUPTED, fail, print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tidings.lab.load import Load
    from tidings.lab.measure import Progress

Found = TypeVar("Found")

EPILOG: Final = """\b
Examples:
  tidings lab                                    twenty seconds, and a table
  tidings lab --rate 0.5 --interval 5            seldom a message, seldom a poll
  tidings lab --rate 50 --rtt 0.2                a long-poll that the rate outruns
  tidings lab --json | jq .transports.polling
  tidings lab --plot lab.png                     the table as a picture
  tidings lab --sweep --seconds 30 --plot map.png
"""


def lab(
    *,
    rate: Annotated[
        float, typer.Option(min=0.01, max=1000, metavar="R", help="Messages a second, at moments of chance.")
    ] = 4.0,
    interval: Annotated[
        float, typer.Option(min=0.01, max=600, metavar="SECONDS", help="Time between two polls of a client.")
    ] = 0.25,
    wait: Annotated[
        float, typer.Option(min=0.1, max=55, metavar="SECONDS", help="How long a long-poll may hang.")
    ] = 25.0,
    clients: Annotated[
        int, typer.Option(min=1, max=4000, metavar="N", help="Clients of each transport.")
    ] = 50,
    rtt: Annotated[
        float,
        typer.Option(min=0, max=5, metavar="SECONDS", help="The round trip to the server; it is simulated."),
    ] = 0.1,
    seconds: Annotated[
        float, typer.Option(min=1, max=300, metavar="SECONDS", help="How long it is counted.")
    ] = 20.0,
    size: Annotated[int, typer.Option(min=22, max=60000, metavar="BYTES", help="A message's data.")] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="Another chance: other moments, as many.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw them, too: a .png or an .svg. Needs matplotlib."),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Many rates and intervals instead: which transport costs least where."),
    ] = False,
) -> None:
    """Measure the four transports side by side, on servers of their own, and say what the formulas say.

    Each transport has its own server and its own clients; all have the same messages at the same moments.
    Bytes are counted on the sockets, heads included, and delays from the moment a message was due.
    """
    from tidings.lab.listeners import ListenerFailed
    from tidings.lab.load import Load, LoadError

    load = Load(
        rate=rate,
        interval=interval,
        wait=wait,
        clients=clients,
        rtt=rtt,
        seconds=seconds,
        size=size,
        seed=seed,
    )
    try:
        if plot is not None:
            from tidings.lab import paper

            paper.check(plot)
        if sweep:
            _sweep(load, plot, json=json)
        else:
            _measure(load, plot, json=json)
    except LoadError as why:
        fail(str(why), 2)
    except ListenerFailed as why:
        fail(f"the measuring broke: {why}")
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _measure(load: "Load", plot: Path | None, *, json: bool) -> None:
    from tidings.lab.measure import measure

    result = _run(lambda progress: measure(load, progress))
    if json:
        _print_json(result.as_json())
    else:
        from rich.console import Console

        from tidings.lab.table import table

        Console(highlight=False).print(table(result))
    if result.disturbed:
        typer.echo(
            f"the machine was busy: messages were published up to {result.late_p99_s * 1000:.0f} ms late, so "
            "the delays above say less than they could. Run it again when nothing else runs.",
            err=True,
        )
    if plot is not None:
        from tidings.lab import bars

        bars.draw(result, plot, _command())
        typer.echo(f"drawn: {plot}", err=True)


def _sweep(load: "Load", plot: Path | None, *, json: bool) -> None:
    from tidings.lab.sweep import sweep

    swept = _run(lambda progress: sweep(load, progress))
    if json:
        _print_json(swept.as_json())
    else:
        from rich.console import Console

        from tidings.lab.table import points

        Console(highlight=False).print(points(swept))
    if plot is not None:
        from tidings.lab import plane

        plane.draw(swept, plot, _command())
        typer.echo(f"drawn: {plot}", err=True)


def _run(begin: "Callable[[Progress], Coroutine[Any, Any, Found]]") -> Found:
    """Run it to its end, on the faster event loop where it is there; show a bar where somebody looks."""
    import asyncio
    import os
    import signal

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # Ended from outside it ends its servers, too, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    console = Console(stderr=True)
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("starting", total=1.0)

        def show(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        try:
            import uvloop
        except ImportError:
            return asyncio.run(begin(show))
        return uvloop.run(begin(show))


def _print_json(value: Any) -> None:
    from json import dumps

    print_line(dumps(value, indent=2).encode())


def _command() -> str:
    """Return the command as it was given, for whoever sees the picture and wants to draw it, too."""
    import shlex

    return "tidings " + shlex.join(sys.argv[1:])
