"""Put what was measured into docs/performance.md: its tables, from results.json, and its plots.

Owns: which figure stands in which table. Does not own: the figures (harness/), the words around the tables.
Invariant: a table is replaced whole or not at all, and each that this file knows has its mark on the page.

usage: python bench/page.py [RESULTS.JSON]

A table is what follows its mark, `<!-- table: delivery -->`, up to an empty line.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import compare, results, tables, verdicts
from harness.compare import Spread
from harness.figures import FIGURES
from harness.results import Results
from harness.rows import Row
from harness.standing import TIDINGS
from harness.verdicts import Verdict
from run import RESULTS, SCENARIOS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
PLOTS = ("cpu-per-delivery", "bursts", "storm", "idle-memory")
_TABLE = re.compile(r"\A(?:\|.*\n)*")
_THOUSAND = "1,000 subscribers, 100 B"
_WS, _SSE, _LONG = "websocket", "sse", "long-polling"

Lines = list[Sequence[str]]


@dataclass(frozen=True)
class Column:
    """One figure of one comparison, for each server that was in it."""

    head: str
    scenario: str
    case: str
    transport: str
    figure: str
    digits: int = 1
    ranges: bool = True
    divisor: float | None = None


def _text(found: Spread | None, divisor: float, digits: int, *, ranges: bool = True) -> str:
    if found is None:
        return ""
    median, least, most = (f"{v / divisor:,.{digits}f}" for v in (found.median, found.least, found.most))
    return f"{median} ({least} to {most})" if ranges and found.rounds > 1 else median


def _cell(measured: Sequence[Row], server: str, column: Column) -> str:
    found = compare.of(measured, server, column.figure)
    divisor = FIGURES[column.figure].divisor if column.divisor is None else column.divisor
    if found is None and any(row.server == server and row.unable for row in measured):
        return "n/a"
    return _text(found, divisor, column.digits, ranges=column.ranges)


def _grid(found: Results, columns: Sequence[Column]) -> Lines:
    """Return a line for each server, in the order in which they were first measured."""
    of = {c: found.rows.get((c.scenario, c.case, c.transport), []) for c in columns}
    servers = dict.fromkeys(row.server for column in columns for row in of[column])
    lines: Lines = [["server", *(column.head for column in columns)]]
    for server in servers:
        cells = [_cell(of[column], server, column) for column in columns]
        if any(cells):
            lines.append([server, *cells])
    return lines


def _fan_out(head: str, transport: str, rate: int) -> Column:
    figure = "cpu_per_cycle" if transport == _LONG else "cpu_per_delivery"
    return Column(head, "fanout", f"{_THOUSAND}, {rate} a second", transport, figure)


_BURSTS = "bursts: 1,000 subscribers, 100 B, 8 connections with 8 unanswered"
_STORM = "10,000 clients, 100 messages of 100 B missed"
_IDLE = "18,000 idle connections"
_HALF = f"{_THOUSAND}, at half of our own unbatched maximum"
_BESIDE = "990 readers beside 10 stalled ones, 100 B, 50 a second"
_PLAYERS = "100 players, each hears himself, 40 B"
_CONNECTS = "4,000 connects, 128 at once"
_SINGLE = "one message a request"

GRIDS = {
    "delivery": [
        _fan_out(f"{name}, {rate} a second", transport, rate)
        for rate in (50, 10)
        for name, transport in (("WebSocket", _WS), ("SSE", _SSE))
    ],
    "bursts": [
        Column(
            f"{name}, thousand deliveries a second", "saturation", _BURSTS, way, "deliveries_per_second", 0
        )
        for name, way in (("WebSocket", _WS), ("SSE", _SSE))
    ],
    "polls": [
        _fan_out("long-poll cycle", _LONG, 10),
        Column(
            "empty polls per CPU second",
            "polling",
            "empty polls without rest, 64 connections",
            "polling",
            "requests_per_cpu_second",
            0,
            divisor=1.0,
        ),
    ],
    "storm": [
        Column("WebSocket", "storm", _STORM, _WS, "caught_last", 2),
        Column("SSE", "storm", _STORM, _SSE, "caught_last", 2),
    ],
    "idle": [
        Column(head, "idle", _IDLE, transport, "memory_slope")
        for head, transport in (("WebSocket", _WS), ("SSE", _SSE), ("parked long-poll", _LONG))
    ],
    "delay": [
        Column(f"{name}{what}", "delay", _HALF, transport, figure, ranges=False)
        for name, transport in (("WebSocket ", _WS), ("SSE ", _SSE))
        for what, figure in (("p50", "delay_p50"), ("p99", "delay_p99"), ("p99.9", "delay_p999"))
    ],
    "stalled": [
        Column("p99 without, ms", "stalled", _BESIDE, _WS, "p99_without"),
        Column("p99 with 1 % stalled, ms", "stalled", _BESIDE, _WS, "p99_with"),
        Column("with over without", "stalled", _BESIDE, _WS, "p99_ratio", 2),
    ],
    "echo": [
        Column("round trips, thousands a second", "echo", _PLAYERS, _WS, "trips_per_second"),
        Column("p50, ms", "echo", _PLAYERS, _WS, "trip_p50"),
        Column("p99, ms", "echo", _PLAYERS, _WS, "trip_p99"),
        Column("CPU of each, µs", "echo", _PLAYERS, _WS, "cpu_per_trip"),
    ],
    "publishing": [
        Column("publishes, thousands a second", "publishing", _SINGLE, "HTTP", "publishes_per_second"),
        Column("CPU of each, µs", "publishing", _SINGLE, "HTTP", "cpu_per_publish"),
        Column("answered within, p99, ms", "publishing", _SINGLE, "HTTP", "answer_p99"),
    ],
    "connects": [
        Column(f"{name}, {what}", "connects", _CONNECTS, transport, figure, digits)
        for name, transport in (("WebSocket", _WS), ("SSE", _SSE))
        for what, figure, digits in (
            ("CPU of each, µs", "cpu_per_connect", 0),
            ("thousands a second", "connects_per_second", 1),
        )
    ],
}


# --- tables whose lines are no servers ------------------------------------------------------------


def _bounds(found: Results) -> Lines:
    lines: Lines = [["what", "against", "found", "must", "aim"]]
    told: set[tuple[str, ...]] = set()
    for verdict in verdicts.judge(SCENARIOS, found.all_rows):
        aim = verdict.aim
        if verdict.found is None or aim.figure not in FIGURES:
            continue
        judged = (aim.what, aim.against, verdict.transport, verdict.case if aim.against else "")
        if judged in told:
            continue  # another scenario had it, too
        told.add(judged)
        divisor = 1.0 if aim.against else FIGURES[aim.figure].divisor
        unit = "" if aim.against else f" {FIGURES[aim.figure].unit}".rstrip()
        case = f"; {verdict.case}" if verdict.scenario == "workers" else ""
        lines.append(
            [
                f"{aim.what}, {tables.NAMES.get(verdict.transport, verdict.transport)}{case}",
                aim.against or "none",
                f"{_text(verdict.found, divisor, 2)}{unit}",
                _bound(verdict, aim.must, holds=verdict.must_holds, word="**does not hold**"),
                _bound(verdict, aim.aim, holds=verdict.aim_holds, word="does not hold"),
            ]
        )
    return lines


def _bound(verdict: Verdict, bound: float, *, holds: bool | None, word: str) -> str:
    sign = "≥" if verdict.aim.least else "≤"
    return f"{sign} {verdict.text(bound)}: {'holds' if holds else word}"


def _sizes(found: Results) -> Lines:
    """Return fan-outs of other sizes: CPU of a delivery, beside the C loop and Nchan."""
    cases = [
        key
        for key in found.rows
        if key[0] == "fanout" and key[1].partition(", 100 B, ")[0] != "1,000 subscribers"
    ]
    who = (TIDINGS, "C loop, one by one", "nginx with Nchan")
    lines: Lines = [["fan-out", *who, "Tidings over the C loop"]]
    for key in cases:
        rows = found.rows[key]
        column = Column("", *key, "cpu_per_delivery")
        ratio = compare.ratio(rows, TIDINGS, "C loop, one by one", "cpu_per_delivery")
        title = f"{key[1]}, {tables.NAMES[key[2]]}"
        lines.append([title, *(_cell(rows, server, column) for server in who), _text(ratio, 1.0, 2)])
    return lines


def _mixed(found: Results) -> Lines:
    heads = ("polling", "long-polling", "sse", "websocket")
    lines: Lines = [["CPU of a delivery, µs", *(f"p99 {tables.NAMES[name]}, ms" for name in heads)]]
    for key in (key for key in found.rows if key[0] == "mixed"):
        rows = found.rows[key]
        cpu = _text(compare.of(rows, TIDINGS, "cpu_per_delivery"), 1e-6, 1)
        late = (_text(compare.of(rows, TIDINGS, f"p99_{name}"), 1e-3, 1) for name in heads)
        lines.append([cpu, *late])
    return lines


def _engines(found: Results) -> Lines:
    columns = (
        ("publishes a second, thousand", "publishes_per_second", 1),
        ("CPU of each, µs", "cpu_per_publish", 1),
        ("the engine's, µs", "engine_cpu_per_publish", 1),
        ("delay p50, ms", "delay_p50", 2),
        ("p99, ms", "delay_p99", 1),
    )
    lines: Lines = [["log", "who", *(head for head, _, _ in columns)]]
    for key in (key for key in found.rows if key[0] == "engines"):
        rows = found.rows[key]
        for number, server in enumerate(dict.fromkeys(row.server for row in rows)):
            cells = [_cell(rows, server, Column("", *key, figure, digits)) for _, figure, digits in columns]
            lines.append(["" if number else key[1], server, *cells])
    return lines


def _following(found: Results) -> Lines:
    lines: Lines = [
        ["a message that none of its clients hears, µs of CPU", "one by one, 1,000 a second", "ten at a time"]
    ]
    for name, server, figure in (
        ("from Redis", "Tidings, following Redis", "cpu_per_followed"),
        ("from NATS", "Tidings, following NATS", "cpu_per_followed"),
        ("from the parent of workers", "Tidings, following its parent", "cpu_per_followed"),
        ("the parent, for two workers", "Tidings, following its parent", "parent_cpu_per_followed"),
    ):
        columns = [Column("", "following", case, "HTTP", figure) for case in ("one by one", "ten at a time")]
        cells = [_cell(found.rows.get((c.scenario, c.case, c.transport), []), server, c) for c in columns]
        if any(cells):
            lines.append([name, *cells])
    return lines


def _workers(found: Results) -> Lines:
    heads = (
        "load",
        "one process, µs",
        "two workers, µs",
        "two deliver, times one",
        "deliveries a second, one, thousand",
    )
    lines: Lines = [[*heads, "two, thousand", "the generator's part of a core, beside two"]]
    two = "Tidings, 2 workers"
    for key in (key for key in found.rows if key[0] == "workers"):
        rows = found.rows[key]
        times = compare.ratio(rows, TIDINGS, two, "cpu_per_delivery")
        lines.append(
            [
                key[1],
                *(_cell(rows, server, Column("", *key, "cpu_per_delivery", 2)) for server in (TIDINGS, two)),
                _text(times, 0.5, 2),
                *(
                    _cell(rows, server, Column("", *key, "deliveries_per_second", 0))
                    for server in (TIDINGS, two)
                ),
                _cell(rows, two, Column("", *key, "generator_load", 2, divisor=1.0)),
            ]
        )
    return lines


def _transports(found: Results) -> Lines:
    lines: Lines = [
        ["transport", "bytes per message", "requests per message", "empty answers", "delay, median"]
    ]
    for name, case, transport in (
        ("polling every second", "every 1 s", "polling"),
        ("polling every 5 seconds", "every 5 s", "polling"),
        ("long-polling", "asked again after 50 ms", _LONG),
        ("SSE", "stream", _SSE),
        ("WebSocket", "WebSocket", _WS),
    ):
        rows = found.rows.get(("polling", f"a message every 10 s, {case}", transport), [])
        spreads = [
            compare.of(rows, TIDINGS, figure)
            for figure in ("wire_bytes_per_delivery", "requests_per_delivery", "empties", "delay_p50")
        ]
        if all(spreads):
            octets, requests, empties, delay = (spread.median for spread in spreads if spread)
            lines.append(
                [
                    name,
                    f"{octets:,.0f}",
                    f"{requests:.2f}",
                    f"{empties:.1%}".replace("%", " %"),
                    f"{delay * 1e3:,.1f} ms",
                ]
            )
    return lines


_OTHERS: dict[str, Callable[[Results], Lines]] = {
    "bounds": _bounds,
    "sizes": _sizes,
    "mixed": _mixed,
    "engines": _engines,
    "following": _following,
    "workers": _workers,
    "transports": _transports,
}
NAMES = (*GRIDS, *_OTHERS)
_TEXT = {"bounds": (0, 1, 3, 4), "engines": (0, 1)}  # columns of words; the first is one everywhere


def markdown(found: Results) -> Iterator[tuple[str, str]]:
    """Yield the name of each table that was measured, and its Markdown."""
    for name in NAMES:
        lines = _grid(found, GRIDS[name]) if name in GRIDS else _OTHERS[name](found)
        if len(lines) > 1:
            text = _TEXT.get(name, (0,))
            rule = "|" + "".join("---|" if n in text else "---:|" for n in range(len(lines[0])))
            head, *rest = ("| " + " | ".join(line) + " |" for line in lines)
            yield name, "\n".join((head, rule, *rest)) + "\n"


def filled(page: str, made: dict[str, str]) -> str:
    """Return the page with these tables in their places. Raises ValueError for one that has none."""
    for name, table in made.items():
        head, mark, rest = page.partition(f"<!-- table: {name} -->\n")
        if not mark or mark in rest:
            raise ValueError(f"the page has no place, or several, for the table {name!r}")
        page = head + mark + table + _TABLE.sub("", rest, count=1)
    return page


def main(argv: Sequence[str]) -> int:
    """Write the page; say which of its tables were not measured and stay as they are."""
    file = Path(argv[0]) if argv else RESULTS / "results.json"
    made = dict(markdown(results.read(file)))
    PAGE.write_text(filled(PAGE.read_text(), made))
    for name in PLOTS:
        drawn = file.parent / f"{name}.png"
        if drawn.exists():
            shutil.copy(drawn, PAGE.parent / "performance" / drawn.name)
    for name in NAMES:
        if name not in made:
            sys.stderr.write(f"not measured, and left as it was: {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
