"""What every peer publishes: messages numbered and rendered as Tidings renders them, once for each.

Owns: the bytes, so that all servers of a comparison send as many. Does not own: who gets them.
Invariant: ids rise, and their epoch is as long as Tidings' own; it is in the environment because some servers
load an application in a process of their own. For the same reason the garbage collector is set here, as
Tidings sets it in its server: what makes a task for each delivery would be slower by a third without.
"""

import gc
import itertools
import os
import time

gc.set_threshold(50_000, 20, 100)

_epoch = os.environ["BENCH_EPOCH"]
_positions = itertools.count(1)


def envelope(channel: str, data: str) -> tuple[str, str]:
    """Return the next message's id and its JSON around the publisher's own."""
    identity = f"{_epoch}-{next(_positions)}"
    time_ms = time.time_ns() // 1_000_000
    return identity, f'{{"id":"{identity}","channel":"{channel}","time":{time_ms},"data":{data}}}'


def receipt(identity: str) -> str:
    """Return what its publisher is told."""
    return f'{{"id":"{identity}","durability":"memory"}}'
