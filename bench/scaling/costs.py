"""What one thing costs: the constants of all that is computed here.

Owns: the numbers and where each is from. Does not own: what follows from them.
Invariant: seconds of one core, and bytes; what was measured and what is assumed stand apart.
"""

from typing import Final

# --- measured (docs/performance.md) -------------------------------------------------------------

SEND: Final = 5.3e-6  # one write to one client, on loopback
DELIVERY_PYTHON: Final = 1.0e-6  # what a delivery costs beside it
BYTE: Final = 0.1e-9
PUBLISH: Final = 40e-6  # for the node that takes it, when busy
POLL: Final = 9e-6  # an empty one
LONG_POLL: Final = 18.7e-6  # published, answered, asked again
RETURN_SSE: Final = 76e-6  # 0.76 s for 10,000 clients that come back and had missed 100 messages
RETURN_WEB_SOCKET: Final = 115e-6  # 1.15 s, likewise
IDLE: Final = 0.94e-6  # heartbeats of one connection, a second
MEMORY: Final = 2_130  # of the process, for an idle WebSocket

# --- measured with redis-server 7.0.15, on the same machine (docs/scaling.md) -------------------

LOG_APPEND: Final = 50e-6  # a script that looks for a key, XADD, and SET with an expiry; 250 bytes
LOG_REPLY: Final = 20e-6  # one blocked XREAD woken, answered, and asked again
LOG_READ: Final = 0.45e-6  # each message in such an answer

# --- measured by `python bench/run.py following` (docs/performance.md), and rounded -------------

# A message that none of a node's clients hears. One that wakes the node by itself is dearer, ten that come
# together are cheaper, JetStream's a little dearer than Redis': this is for a node that is busy, not full.
FOLLOW: Final = 20e-6

# --- assumed ------------------------------------------------------------------------------------

KERNEL_MEMORY: Final = 4_000  # of the kernel, for a socket with nothing queued
MESSAGE: Final = 250  # bytes of a message in the log, its names included
ROUND_TRIP: Final = 0.5e-3  # between a node and the log
FULL: Final = 0.7  # of a core that may be used: the rest is for storms and for the neighbours


def delivery(size: int = 187, joined: float = 1.0) -> float:
    """Return the cost of one message of `size` bytes to one client, `joined` of them in one write."""
    return DELIVERY_PYTHON + SEND / joined + BYTE * size
