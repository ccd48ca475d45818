"""What the simulation says, as tables and plots.

Owns: which cases are looked at, and how they are told. Does not own: the models.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from scaling import cluster, costs, deploys, queues, storms
from scaling.cluster import Cluster

FOLLOWERS = (3, 10, 30, 100, 300, 1_000)
PARTITIONS = (1, 2, 4, 8, 16)
DRAWN = 100  # followers of the plot
LOADS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SUBSCRIBERS = (100, 1_000, 10_000)


@dataclass(frozen=True)
class Table:
    """A finding, its head and its rows."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __str__(self) -> str:
        lines = [self.head, ("---", *["---:"] * (len(self.head) - 1)), *self.rows]
        return "\n".join([f"### {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def _ms(seconds: float) -> str:
    if seconds >= 1:
        return "never" if math.isinf(seconds) else f"{seconds:.2f} s"
    return f"{seconds * 1000:.3g} ms"


def tables(seed: int, count: int) -> Iterator[Table]:
    """Yield every table. `count` is how many messages each case has."""
    yield one_node(seed, count)
    yield partitions(seed, count)
    yield storm(seed)
    yield moves()


def one_node(seed: int, count: int) -> Table:
    """Return how late the last of many subscribers is, at a node whose log costs nothing."""
    rows = []
    for load in LOADS:
        cells = []
        for fanout in SUBSCRIBERS:
            service = Cluster(1, fanout=fanout).node_service
            found = cluster.node_delays(load / service, service, count, Random(seed))
            closed = cluster.node_mean(load / service, service)
            cells.append(
                f"{_ms(sum(found) / len(found))} ({_ms(closed)}), p99 {_ms(queues.quantile(found, 0.99))}"
            )
        rows.append((f"{load:.0%}".replace("%", " %"), *cells))
    head = ("load of the core", *(f"{n:,} subscribers" for n in SUBSCRIBERS))
    return Table("Delay of the last subscriber at one node: simulated mean (closed form), p99", head, rows)


def partitions(seed: int, count: int) -> Table:
    """Return how many messages a second pass, by followers and partitions."""
    rows = []
    for followers in FOLLOWERS:
        cases = [Cluster(followers, number) for number in PARTITIONS]
        found = [cluster.most(case, count, seed) for case in cases]
        rows.append(
            (
                f"{followers:,}",
                *(f"{most:,.0f} ({case.log_limit():,.0f})" for most, case in zip(found, cases, strict=True)),
            )
        )
    head = ("processes that follow", *(f"{n} partition{'s' * (n > 1)}" for n in PARTITIONS))
    title = (
        f"Messages a second with a p99 of at most {cluster.P99_MOST * 1000:g} ms, simulated (engines "
        f"full at); a node is full at {Cluster(1).node_limit():,.0f}"
    )
    return Table(title, head, rows)


STORMS = (
    (10_000, 0.3, costs.RETURN_SSE),
    (20_000, 0.3, costs.RETURN_WEB_SOCKET),
    (100_000, 0.3, costs.RETURN_WEB_SOCKET),
    (100_000, 5.0, costs.RETURN_WEB_SOCKET),
    (100_000, 20.0, costs.RETURN_WEB_SOCKET),
    (300_000, 20.0, costs.RETURN_WEB_SOCKET),
    (300_000, 60.0, costs.RETURN_WEB_SOCKET),
)


def storm(seed: int) -> Table:
    """Return how long it takes until everybody is back."""
    rows = []
    for clients, window, service in STORMS:
        case = storms.Storm(clients, window, service, window_most=max(20.0, window))
        course = storms.simulated(case, Random(seed))
        rows.append(
            (
                f"{clients:,}",
                f"{service * 1e6:.0f} µs",
                f"{window:g} s",
                f"{storms.closed_form(case):.1f} s",
                f"{course.last:.1f} s",
                f"{course.longest_wait:.1f} s",
                f"{course.attempts_each(case):.2f}",
            )
        )
    head = (
        "clients of one core",
        "each costs",
        "spread over",
        "arithmetic",
        "last is back",
        "longest wait",
        "tries each",
    )
    return Table("Everybody comes back", head, rows)


def moves() -> Table:
    """Return how often a client is moved while all nodes are restarted."""
    rows = []
    for nodes in (2, 3, 10, 100):
        by_chance, least = deploys.rolled(nodes, least=False), deploys.rolled(nodes, least=True)
        fullest = [max(one.shares) * nodes for one in (by_chance, least)]
        emptiest = [min(one.shares) * nodes for one in (by_chance, least)]
        rows.append(
            (
                f"{nodes}",
                f"{by_chance.moves:.2f} ({deploys.closed_form(nodes):.2f})",
                f"{fullest[0]:.2f}, {emptiest[0]:.2f}",
                f"{least.moves:.2f}",
                f"{fullest[1]:.2f}, {emptiest[1]:.2f}",
            )
        )
    head = (
        "nodes",
        "moves of a client (closed form)",
        "fullest, emptiest",
        "moves with least connections",
        "fullest, emptiest",
    )
    return Table("All nodes are restarted, one after another; 1.00 is a node's even share", head, rows)


# --- the plot -----------------------------------------------------------------------------------


def curves(seed: int, count: int, followers: int = DRAWN) -> dict[int, list[tuple[float, float]]]:
    """Return for each number of partitions the p99 delay at rates up to what it can."""
    found = {}
    for number in PARTITIONS:
        case = Cluster(followers, number)
        limit = min(case.log_limit(), case.node_limit())
        rates = [limit * share for share in (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)]
        found[number] = [(rate, cluster.p99(case, rate, count, seed)) for rate in rates]
    return found


def draw(found: dict[int, list[tuple[float, float]]], folder: Path, followers: int = DRAWN) -> Sequence[Path]:
    """Draw the curves as SVG and PNG, and return the files. Raises RuntimeError without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeError("plots need matplotlib: pip install 'tidings[bench]'") from None
    mpl.rcParams.update({"svg.hashsalt": "tidings", "font.family": "sans-serif"})
    sheet = Figure(figsize=(9.0, 4.6), facecolor="white")
    axes = sheet.add_axes((0.08, 0.17, 0.88, 0.65))
    shades = ("#9fb8c8", "#7397ad", "#4a7894", "#245a78", "#0b3d59")
    for shade, (number, points) in zip(shades, found.items(), strict=True):
        rates, late = zip(*points, strict=True)
        axes.plot(rates, [value * 1000 for value in late], color=shade, linewidth=2, marker="o", markersize=3)
        axes.annotate(
            f"{number}",
            (rates[-1], late[-1] * 1000),
            xytext=(5, 0),
            textcoords="offset points",
            color=shade,
        )
    limit = Cluster(followers).node_limit()
    axes.axvline(limit, color="#b0532a", linewidth=1, linestyle="--")
    axes.text(limit * 0.97, 1.3, "a node is full", ha="right", color="#b0532a", fontsize=9)
    axes.axhline(cluster.P99_MOST * 1000, color="#c4cad0", linewidth=1)
    axes.set(xscale="log", yscale="log", ylim=(1, 1000))
    axes.set_xlabel("messages a second, all channels together")
    axes.set_ylabel("p99 delay, ms")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e8eb", linewidth=0.8)
    sheet.text(
        0.03, 0.93, "Partitions move the wall of the log, not that of the nodes", fontsize=13.5, weight="bold"
    )
    below = f"{followers} processes follow the log; 1 to 16 partitions, each with an engine of its own"
    sheet.text(0.03, 0.87, below, fontsize=10, color="#5a636c")
    sheet.text(
        0.03, 0.02, "Simulated by bench/simulate.py from the constants of docs/scaling.md", fontsize=7.5
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "partitions.svg", folder / "partitions.png"]
    sheet.savefig(files[0], metadata={"Date": None})
    sheet.savefig(files[1], dpi=160)
    return files
