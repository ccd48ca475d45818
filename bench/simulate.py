"""The arithmetic of docs/scaling.md, checked by a simulation: `python bench/simulate.py`.

Owns: the command. Does not own: models (scaling/), nor what follows from them for whoever runs a cluster.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from scaling import engine, report

MESSAGES = 20_000


def main() -> int:
    """Print the tables, draw the plot, and return the exit code."""
    parser = argparse.ArgumentParser(
        description="Simulate logs, nodes, storms and deploys, in under a minute."
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same figures (1)")
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"messages of each case ({MESSAGES})")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the plot there, as SVG and PNG")
    parser.add_argument("--redis", action="store_true", help="measure what a message costs Redis, and end")
    given = parser.parse_args()
    if given.redis:
        append, answer, read = (1e6 * found for found in asyncio.run(engine.measured()))
        print(f"append {append:.0f} µs, answer {answer:.0f} µs, message in an answer of many {read:.2f} µs")
        return 0
    began = time.monotonic()
    for table in report.tables(given.seed, given.messages):
        print(table)
    if given.plots is not None:
        try:
            files = report.draw(report.curves(given.seed, given.messages), given.plots)
        except RuntimeError as why:
            print(why, file=sys.stderr)
            return 1
        print("\n".join(str(file) for file in files), file=sys.stderr)
    print(f"{time.monotonic() - began:.1f} s, seed {given.seed}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
