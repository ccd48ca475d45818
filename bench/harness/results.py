"""What a bench leaves behind: the machine it ran on, JSON, and words about rows that are void."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harness import processes
from harness.compare import Named


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine."""

    def setting(name: str) -> str:
        path = Path("/proc/sys/net") / name
        return path.read_text().strip() if path.exists() else "unknown"

    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "congestion_control": setting("ipv4/tcp_congestion_control"),
        "server_core": processes.SERVER_CORE,
        "load_core": processes.LOAD_CORE,
    }


def print_machine(console: Console) -> None:
    """Say where this ran."""
    here = machine()
    console.print(
        f"{here['cpu']}, {here['cores']} cores, Linux {here['kernel']}, Python {here['python']}, "
        f"TCP {here['congestion_control']}; server on core {here['server_core']}, "
        f"load on core {here['load_core']}",
        style="dim",
        highlight=False,
    )
    if here["server_core"] == here["load_core"]:
        console.print("[bold red]Only one core: server and load disturb each other, nothing here holds.")


def new_console() -> Console:
    """Return standard output, wide enough for a table also where it is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def new_table(title: str) -> Table:
    """Return an empty table that is told apart by space, not by boxes."""
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def print_void(console: Console, rows: Sequence[Named], aside: Sequence[Named]) -> bool:
    """Say what voids which row, and what was measured again; return whether no row is void."""
    if aside:
        example = f"{aside[-1].server}: {'; '.join(aside[-1].void)}"
        console.print(f"  [dim]rows measured again: {len(aside)}, the last {example}[/]", highlight=False)
    void = [row for row in rows if row.void]
    for row in void:
        console.print(f"  [bold red]void[/] {row.server}: {'; '.join(row.void)}", highlight=False)
    return not void


def write_json(path: Path, options: Mapping[str, Any], rows: Sequence[Any], aside: Sequence[Any]) -> None:
    """Write options, machine, all rows and those set aside (dataclasses); durations are seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "options": dict(options),
        "rows": [asdict(row) for row in rows],
        "aside": [asdict(row) for row in aside],
    }
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")
