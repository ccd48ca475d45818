"""The log in one SQLite file: nothing to install, and what was acknowledged is there after a restart.

    log.py       the event loop's side: the port, what waits for an answer, time limits
    follower.py  one reader of the tail: from the file while it is behind, handed to it when it is not
    seam.py      what these and the thread know of each other
    writer.py    the thread that owns the file: group commit, retention, failure and recovery
    kept.py      what the file holds, as far as deciding needs it
    dropping.py  one step of dropping what is too many, too old or too much
    file.py      the file: how it is opened, which life it is in, the statements
    schema.py    its format; rows.py checks what comes out of it, identity.py whether it is the same file

One connection, one thread, one process. A known fault of SQLite's WAL (repaired in 3.51.3; Debian 12
has 3.40) needs two connections that write; here there is never a second one, of any kind.
"""

from tidings.logs.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
