"""A log that several workers on one machine share, over a Unix socket to each.

    sharing.py   the parent's end: it has the log, and hands it to workers
    log.py       a worker's end: one more log behind the port
    appends.py   what a worker appends in one turn, as one question
    follower.py  what a worker was brought and has not taken yet

What goes over the socket is in wire/shared_log.py.
"""

from tidings.logs.shared.log import SharedLog
from tidings.logs.shared.sharing import Sharing

__all__ = ["SharedLog", "Sharing"]
