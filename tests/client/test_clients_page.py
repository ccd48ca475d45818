"""The examples of docs/clients.md, each run as it stands, only on a free port instead of 8080."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kit import ServerProcess, serving

PAGE: Final = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
EXAMPLES: Final = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# What each prints, in its order on the page.
PRINTED: Final = (
    r"news \{'n': 1\}\n",
    r"start over: prices epoch\nACME 101\.5\n",
    r"connecting over websocket\nlive over websocket\nhttp.*\nnews: live .*\n(  .*\n)+idle \(closed\)\n",
    r"[a-z0-9]+-\d+ memory\n",
    r"[a-z0-9]+-\d+\n",
    r"Receipt\(id='.*', durability='memory', duplicate=False\)\n",
)


@pytest.fixture(scope="module")
def shared() -> Iterator[ServerProcess]:
    """One server for all examples, as for a reader who tries them in turn."""
    with serving() as server:
        yield server


@pytest.mark.parametrize(("example", "printed"), list(zip(EXAMPLES, PRINTED, strict=True)))
def test_an_example_does_what_it_says(shared: ServerProcess, example: str, printed: str) -> None:
    program = example.replace("http://127.0.0.1:8080", shared.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert re.fullmatch(printed, done.stdout), done.stdout
