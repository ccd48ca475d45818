"""The files of deploy/, taken apart: what each starts, where it listens, how long it may take to stop.

Owns: reading them. Does not own: what must be true of them (the tests).
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm" / "tidings"
COMPOSE: Final = ("compose.yaml", "compose.nats.yaml")


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def unit(name: str) -> dict[str, list[str]]:
    """Return the settings of a systemd unit; one may be there several times."""
    found: dict[str, list[str]] = {}
    for line in text(name).splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def compose(name: str) -> dict[str, Any]:
    """Return a compose file."""
    loaded: dict[str, Any] = yaml.safe_load(text(name))
    return loaded


def nodes(name: str) -> dict[str, Any]:
    """Return the services of a compose file that are nodes."""
    return {key: value for key, value in compose(name)["services"].items() if key.startswith("node")}


def dockerfile(instruction: str) -> list[str]:
    """Return what follows each such instruction, lines that are continued joined."""
    joined = re.sub(r"\\\n\s*", " ", text("Dockerfile"))
    return re.findall(rf"^{instruction} (.+)$", joined, re.MULTILINE)


def chart_values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


def chart_template(name: str) -> str:
    return (CHART / "templates" / name).read_text()


def chart_arguments() -> list[str]:
    """Return the words after `args:` in the chart, templates and all."""
    block = re.search(r"^ {10}args:\n((?: {12}.*\n)+)", chart_template("deployment.yaml"), re.MULTILINE)
    assert block is not None
    return re.findall(r"^ +- (.+)$", block[1], re.MULTILINE)


def commands() -> dict[str, list[str]]:
    """Return, for each file, the words of the command that starts a server."""
    found = {
        "tidings.service": shlex.split(unit("tidings.service")["ExecStart"][0])[1:],
        "Dockerfile": yaml.safe_load(dockerfile("CMD")[-1]),
        "chart": chart_arguments(),
    }
    for name in COMPOSE:
        found |= {f"{name} {node}": service["command"] for node, service in nodes(name).items()}
    return found


def value(words: list[str], flag: str) -> str:
    """Return what follows `flag`, as it stands there without its quotes."""
    return str(words[words.index(flag) + 1]).strip('"')


def seconds(duration: str) -> float:
    """Return a duration like `15s`."""
    assert duration.endswith("s")
    return float(duration[:-1])


def program(*names: str) -> str | None:
    """Return the first of these programs that is installed; Debian keeps some where only root looks."""
    found = (shutil.which(name) or shutil.which(name, path="/usr/sbin") for name in names)
    return next((path for path in found if path), None)


def nats_configuration(server: str, data: Path) -> str:
    """Return nats.conf with that folder, and without the one word that a server before 2.10 does not know."""
    configuration = text("nats.conf").replace("/data", str(data))
    version = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=20).stdout
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= (2, 10):
        return configuration
    assert "sync_interval: always" in configuration
    return configuration.replace("    sync_interval: always\n", "")
