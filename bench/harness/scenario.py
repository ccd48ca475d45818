"""What a scenario is: one question, the comparisons that answer it, and what we aim at.

Owns: the shape that run.py, tables.py and plots.py meet at. Does not own: any scenario (bench/scenarios/).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.compare import Comparison
from harness.servers import Server
from harness.standing import VARIANTS


@dataclass(frozen=True)
class Options:
    """What the command line asked for; `rounds` None leaves each comparison its own, `()` all there are."""

    full: bool
    servers: Sequence[Server]
    rounds: int | None = None
    transports: Sequence[str] = ()
    cases: Sequence[str] = ()

    def asked(self, short: int, full: int) -> int:
        """Return how many rounds a comparison has."""
        return self.rounds or (full if self.full else short)

    def having(self, transport: str, *names: str, channels: bool = False) -> list[Server]:
        """Return the servers that speak a transport, in the table's order.

        Those are the named ones, or, where none is named, all but the variants of one that is there anyway.
        With `channels`, only those whose paths have room for a channel's number.
        """
        return [
            server
            for server in self.servers
            if transport in server.targets
            and (server.name in names if names else server.name not in VARIANTS)
            and (
                not channels
                or ("{n}" in server.targets[transport] + server.hello and "{n}" in server.publish)
            )
        ]


@dataclass(frozen=True)
class Aim:
    """A bound on a figure of Tidings: the figure itself, or its ratio to another server's, round by round.

    `must` and `aim` are in the figure's own unit; with `least` they are lower bounds. `case` and `transport`
    may be "", for all that there are.
    """

    what: str
    figure: str
    must: float
    aim: float
    against: str = ""
    case: str = ""
    transport: str = ""
    least: bool = False


@dataclass(frozen=True)
class Plot:
    """Bars of one figure, a group for each transport; `finding` says in words what they show.

    In `finding`, `{ours}` is our figure, and `{ratio}` is that to the figure of the server `against`.
    """

    name: str
    case: str
    figure: str
    finding: str
    against: str = ""
    labels: str = "server"  # or "case": one server's figure over the cases


@dataclass(frozen=True)
class Scenario:
    """One question. `comparisons` is asked once, before anything runs.

    `figures` are the columns of its tables; of `compared` the first that was found is compared between
    servers (where there is none, of `figures`).
    """

    name: str
    asks: str
    comparisons: Callable[[Options], Iterable[Comparison]]
    figures: Sequence[str]
    compared: Sequence[str] = ()
    aims: Sequence[Aim] = ()
    plots: Sequence[Plot] = ()
