"""How many instructions does the server itself need for a delivery, and for a message? Counted by callgrind.

Owns: counting. Does not own: the server and the load (harness/).

A count does not depend on the machine's noise, so it shows what creeps in, a few per cent at a time. The
kernel's work is not in it: that is most of what a delivery costs, and this is the rest, which is ours. The
slope over the number of subscribers is a delivery; what remains without any is the publish, and what goes on
anyhow, such as timers.

usage: python bench/instructions.py     wants valgrind; takes two minutes
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from harness import load
from harness.delivery import LAST_DELIVERY
from harness.servers import SSE, TIDINGS, WEBSOCKET, running
from rich.console import Console
from rich.table import Table

_FEW: Final = 100
_MANY: Final = 500
_RATE: Final = 10.0  # slow enough for a server that is 50 times slower: nothing may be joined
_MESSAGES: Final = 100
_TOTAL: Final = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


def _control(pid: int, *words: str) -> None:
    subprocess.run(["callgrind_control", *words, str(pid)], check=True, capture_output=True, timeout=60)


def count(transport: str, subscribers: int) -> float:
    """Return the instructions of one publish with so many subscribers, their deliveries included."""
    with TemporaryDirectory(prefix="callgrind-") as folder:
        out = Path(folder) / "out"
        valgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
        server = replace(TIDINGS, command=lambda port: (*valgrind, *TIDINGS.command(port)))
        with running(server) as here, load.subscribers(here, transport) as listening:
            listening.connect(subscribers)
            for counting in (False, True):  # the first round makes what is made once
                listening.mark()
                if counting:
                    _control(here.pid, "-i", "on")
                published = load.publish(here, rate=_RATE, seconds=_MESSAGES / _RATE)
                report = listening.wait_for(published.published * subscribers, LAST_DELIVERY)
                if report.messages != published.published * subscribers or published.errors:
                    raise RuntimeError(f"{report.messages} deliveries of {published.published} messages")
            _control(here.pid, "-i", "off")
            _control(here.pid, "-d")
            totals = [int(_TOTAL.findall(file.read_text())[-1]) for file in out.parent.glob("out.*")]
    return sum(totals) / published.published


def main(_argv: Sequence[str]) -> int:
    """Print the table; return 2 where valgrind is not installed."""
    if shutil.which("valgrind") is None:
        sys.stderr.write("valgrind is not installed: on Debian, apt install valgrind.\n")
        return 2
    table = Table(title=f"Instructions, at {_RATE:g} messages of 100 bytes a second")
    for head in ("", "a delivery", "all else, for each publish"):
        table.add_column(head, justify="right" if head else "left")
    for transport in (WEBSOCKET, SSE):
        few, many = count(transport, _FEW), count(transport, _MANY)
        each = (many - few) / (_MANY - _FEW)
        table.add_row(transport, f"{each:,.0f}", f"{few - _FEW * each:,.0f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
