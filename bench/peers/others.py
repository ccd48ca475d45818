"""Servers that are known, and do not take part: each with the reason, so that nobody has to wonder.

Owns: the reasons. Does not own: anything that runs. Centrifugo takes a message as JSON beside its channel's
name, Mercure as a field of a form; the publisher (c/publisher.c) posts data to a path and can say neither.
Both would need that first, and then an entry that was measured.
"""

import shutil
from functools import partial

from harness.servers import Server


def _absent(program: str, how: str) -> None:
    if not shutil.which(program):
        raise RuntimeError(f"{program} is not on the PATH")
    raise RuntimeError(f"{program} takes a message as {how}, which the publisher cannot say")


CENTRIFUGO = Server(
    "Centrifugo", lambda _: (), {}, prepare=partial(_absent, "centrifugo", "JSON with its channel's name")
)
MERCURE = Server("Mercure", lambda _: (), {}, prepare=partial(_absent, "mercure", "a field of a form"))

SERVERS: tuple[Server, ...] = (CENTRIFUGO, MERCURE)
