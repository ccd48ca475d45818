"""`tidings lab` as it is run from a terminal: real servers, real clients, and what it prints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tidings.lab.look import TRANSPORTS

FIELDS = {
    "requests",
    "empty_share",
    "bytes_up_per_message",
    "bytes_down_per_message",
    "delay_mean_s",
    "delay_p50_s",
    "delay_p99_s",
    "server_cpu_us_per_message",
    "memory_per_client",
}


def lab(*options: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tidings", "lab", *options],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "COLUMNS": "130", **(env or {})},
    )


def figures(*options: str) -> dict[str, Any]:
    done = lab("--json", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


SHORT = ("--seconds", "2", "--rate", "10", "--clients", "5")


@pytest.mark.slow
@pytest.mark.alone
def test_a_short_run_has_every_figure_of_every_transport_and_what_the_formulas_say() -> None:
    found = figures(*SHORT)
    assert list(found["transports"]) == list(TRANSPORTS)
    for transport, of in found["transports"].items():
        assert set(of) > FIELDS | {"predicted", "deviation"}
        assert all(isinstance(of[name], int | float) for name in FIELDS), transport
        assert of["server_cpu_us_per_message"] > 0
        said = {name for name, value in of["predicted"].items() if value is not None}
        unsaid = {"server_cpu_us_per_message", "memory_per_client"}
        assert said >= FIELDS - unsaid - ({"delay_p99_s"} if transport in ("sse", "websocket") else set())
    # Every client of a stream heard every message, and asked once.
    assert found["published"] == 20
    for transport in ("sse", "websocket"):
        assert found["transports"][transport]["delivered"] == 20 * 5
        assert found["transports"][transport]["requests"] == 5


@pytest.mark.slow
@pytest.mark.alone
def test_the_table_shows_figures_formulas_and_shapes_and_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "lab.svg"
    done = lab(*SHORT, "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    for word in ("○ Polling", "◐ Long-polling", "▸ Server-Sent Events", "● WebSocket", "server CPU", "%"):
        assert word in done.stdout
    assert picture.read_text().startswith("<?xml")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_sweep_says_which_points_were_measured_and_draws_the_map(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "map.png"
    options = ("--sweep", "--seconds", "18", "--clients", "5", "--json", "--plot", str(picture))
    done = lab(*options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["measured"]) == 6
    assert len(found["by_formula"]) > 500
    assert all(set(cell["transports"]) == set(TRANSPORTS) for cell in found["measured"])
    for cell in (*found["measured"], *found["by_formula"]):
        assert cell["fewest_bytes"] in TRANSPORTS
        assert cell["least_work"] in TRANSPORTS
    # Where messages come far more often than polls, polling has the fewest bytes; where far less, the most.
    many = max(found["by_formula"], key=lambda cell: cell["rate"] * cell["interval"])
    few = min(found["by_formula"], key=lambda cell: cell["rate"] * cell["interval"])
    assert many["fewest_bytes"] == many["least_work"] == "polling"
    assert max(few["bytes_per_message"], key=few["bytes_per_message"].__getitem__) == "polling"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_twenty_seconds_are_within_ten_per_cent_of_the_formulas() -> None:
    for _ in range(3):
        found = figures("--seconds", "20")
        if not found["disturbed"]:
            break
    checked = ["requests", "bytes_up_per_message", "bytes_down_per_message"]
    if not found["disturbed"]:
        checked += ["delay_mean_s", "delay_p50_s"]
    for transport, of in found["transports"].items():
        for name in checked:
            assert abs(of["deviation"][name]) <= 0.10, f"{transport}, {name}: {of}"
    polling = found["transports"]["polling"]
    assert abs(polling["deviation"]["empty_share"]) <= 0.10
    assert found["transports"]["long-polling"]["empty_answers"] == 0  # the formula says one in 10^43
    if found["disturbed"]:
        pytest.skip("the machine was busy three times: bytes and empties are right, delays say nothing")
    assert abs(polling["deviation"]["delay_p99_s"]) <= 0.10


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """Say whether a process has ended; where nobody collects it, it is still listed, as a zombie."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_server_behind(signal_: signal.Signals) -> None:
    command = [sys.executable, "-m", "tidings", "lab", "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        deadline = time.monotonic() + 30
        while len(servers := children(running.pid)) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal_)
        said = running.stderr.read()
        assert running.wait(30) == 130, said
    assert "Traceback" not in said
    assert all(gone(pid) for pid in servers)


def test_a_load_that_cannot_be_measured_is_refused_in_one_line() -> None:
    done = lab("--interval", "0.05", "--rtt", "0.1")
    assert done.returncode == 2
    assert done.stderr.startswith("tidings: --interval 0.05 is below --rtt 0.1")
    assert done.stderr.count("\n") == 1


def test_a_picture_of_another_kind_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    done = lab("--plot", str(tmp_path / "lab.gif"))
    assert done.returncode == 2
    assert "a .png or an .svg" in done.stderr


def test_without_matplotlib_a_plot_is_refused_with_what_to_install(tmp_path: Path) -> None:
    # Python runs a module of this name before all else; this one hides matplotlib.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = lab("--plot", str(tmp_path / "lab.png"), env={"PYTHONPATH": paths})
    assert done.returncode == 2
    assert "pip install 'tidings[bench]'" in done.stderr
    assert "Traceback" not in done.stderr
