"""What a run leaves behind: every row, the machine, the versions, the command; in JSON, and read again.

Owns: results.json. Does not own: tables and plots of it.
Invariant: all rows are in it, void ones and those set aside, too; it is whole after every comparison.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import processes
from harness.rows import Row, from_plain

Key = tuple[str, str, str]


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


def machine_line(here: Mapping[str, Any]) -> str:
    """Return the machine in one line."""
    return (
        f"{here['cpu']}, {here['cores']} cores, Linux {here['kernel']}, Python {here['python']}, "
        f"TCP {here['congestion_control']}; "
        f"server on core {here['server_core']}, load on core {here['load_core']}"
    )


@dataclass(frozen=True)
class Run:
    """One command: when, where, and with whom. `missing` says why others did not take part."""

    began: str
    command: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: Mapping[str, str]
    missing: Mapping[str, str]


@dataclass
class Results:
    """Rows by comparison, each with the run that it is of."""

    runs: dict[str, Run] = field(default_factory=dict)
    rows: dict[Key, list[Row]] = field(default_factory=dict)
    aside: dict[Key, list[Row]] = field(default_factory=dict)
    of_run: dict[Key, str] = field(default_factory=dict)

    def begin(self, key: Key, run: Run) -> None:
        """Forget what an earlier run found of a comparison: rows of two runs are never compared."""
        self.runs[run.began] = run
        self.of_run[key] = run.began
        self.rows[key], self.aside[key] = [], []

    @property
    def all_rows(self) -> list[Row]:
        """Every row, in the order in which the comparisons began."""
        return [row for rows in self.rows.values() for row in rows]

    @property
    def used_runs(self) -> list[Run]:
        """The runs that some comparison is of, oldest first."""
        return [run for began, run in sorted(self.runs.items()) if began in set(self.of_run.values())]

    def write(self, path: Path, verdicts: list[dict[str, Any]]) -> None:
        """Write all of it, at once or not at all."""
        content = {
            "runs": [asdict(run) for run in self.used_runs],
            "verdicts": verdicts,
            "comparisons": [
                {
                    "scenario": key[0],
                    "case": key[1],
                    "transport": key[2],
                    "run": self.of_run[key],
                    "rows": [row.plain() for row in rows],
                    "aside": [row.plain() for row in self.aside[key]],
                }
                for key, rows in self.rows.items()
            ],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1) + "\n")
        fresh.replace(path)


def read(path: Path) -> Results:
    """Return what `write` wrote."""
    content = json.loads(path.read_text())
    results = Results(runs={run["began"]: Run(**run) for run in content["runs"]})
    for one in content["comparisons"]:
        key = (one["scenario"], one["case"], one["transport"])
        results.rows[key] = [from_plain(row) for row in one["rows"]]
        results.aside[key] = [from_plain(row) for row in one["aside"]]
        results.of_run[key] = one["run"]
    return results
