"""Tables in documents that are made from the code: `python tests/spec/tables.py` writes them anew.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. test_docs.py fails when one is stale.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tidings.core.errors import CODES

ROOT: Final = Path(__file__).parents[2]
# The documents that may have tables.
DOCUMENTS: Final = (ROOT / "spec" / "protocol.md",)
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def errors() -> str:
    """Return THE table of refusals."""
    rows = [
        f"| `{code.code}` | {code.status} | {code.close} | {'yes' if code.retry else 'no'} | {code.title} |"
        for code in CODES.values()
    ]
    return "\n".join(["| code | status | close code | try again | title |", "|---|---|---|---|---|", *rows])


TABLES: Final[dict[str, Callable[[], str]]] = {"errors": errors}


def renewed(text: str) -> str:
    """Return the document `text` with all its tables as the code has them now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[4]}", text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(renewed(document.read_text()))
