"""What a bench leaves behind: the machine it ran on, JSON, and words about rows that are void."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

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


def print_void(console: Console, rows: Sequence[Named]) -> bool:
    """Say what voids which row; return whether none is void."""
    void = [row for row in rows if row.void]
    for row in void:
        console.print(f"[bold red]void[/] {row.server}: {'; '.join(row.void)}", highlight=False)
    return not void


def write_json(path: Path, options: Mapping[str, Any], rows: Sequence[Any]) -> None:
    """Write options, machine and all rows (dataclasses); durations in them are seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "options": dict(options), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")
