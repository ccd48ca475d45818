"""The page at /lab says what the command says: its formulas are the same ones, in JavaScript."""

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from tidings.lab import formulas
from tidings.lab.load import Load
from tidings.lab.sizes import Polls, Stream

FORMULAS = Path(__file__).parents[2] / "src" / "tidings" / "web" / "lab" / "formulas.js"
SIZES = {"request": 487.0, "head": 150.0, "envelope": 66.0, "message": 170.0}
SCRIPT = """
import * as formulas from FORMULAS;
console.log(JSON.stringify(LOADS.map((load) => [
  formulas.polling(load, SIZES),
  formulas.longPolling(load, SIZES),
  formulas.stream(load, { message: 150, opening: 800 }, 40),
])));
"""


def test_the_pages_formulas_are_those_of_the_command() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no `node` on PATH")
    loads = [
        Load(rate=rate, interval=interval, wait=25.0, rtt=0.05, seconds=40 / rate)
        for rate in (0.1, 1.0, 20.0)
        for interval in (0.1, 1.0, 10.0)
    ]
    script = SCRIPT
    for name, value in (
        ("FORMULAS", FORMULAS.as_uri()),
        ("LOADS", [asdict(load) for load in loads]),
        ("SIZES", SIZES),
    ):
        script = script.replace(name, json.dumps(value))
    done = subprocess.run(
        [node, "--input-type=module", "--no-warnings", "-e", script],
        capture_output=True,
        text=True,
        check=True,
    )
    polls = Polls(**SIZES)
    stream = Stream(opening_up=500, opening_down=300, message=150)
    for of, load in zip(json.loads(done.stdout), loads, strict=True):
        expected = [
            formulas.polling(load, polls),
            formulas.long_polling(load, polls),
            formulas.stream(load, stream),
        ]
        for found, said in zip(of, expected, strict=True):
            both = said.bytes_up_per_message + said.bytes_down_per_message
            assert found["empty"] == pytest.approx(said.empty_share)
            assert found["bytes"] == pytest.approx(both)
            assert found["delay"] == pytest.approx(said.delay_mean_s)
        for found, said in zip(of[:2], expected[:2], strict=True):
            assert found["requests"] == pytest.approx(1 / said.messages_per_request)
