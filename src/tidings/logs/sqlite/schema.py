"""The file's format: what is in it, and whether a file is ours.

Owns: the tables, and the check of a file that is opened. Does not own: the statements (file.py).

The file is an SQLite database that could be written anew from this. `application_id` is 0x54494447
("TIDG"), `user_version` 1.

    life         one row. `epoch` names this life of the log. Positions up to `head` have been given out,
                 in it or before, whatever `message` still holds. Of a channel that `lost` does not name,
                 and of which nothing is kept, messages up to `forgotten_through` may be gone. And how
                 the file is used: `clean` (it was closed, and that was synced), `boot` (of the machine
                 that opened it), `durability`, `identity` (of the file itself, see identity.py)
    message      what is kept. `position` rises in the order of appending; `time_ms` since the Unix epoch;
                 `data` is JSON text in UTF-8; `event` and `key` or NULL
    lost         messages of `channel` up to position `through` are gone
    idempotency  `key` was given with the message of `channel` at `position`, which need not be kept any
                 more
"""

import sqlite3
from pathlib import Path
from typing import Final

from tidings.core.errors import SettingsError

APPLICATION_ID: Final = 0x54494447
USER_VERSION: Final = 1
OLDEST_SQLITE: Final = (3, 37)  # STRICT tables

SCHEMA: Final = (
    """CREATE TABLE life (
        one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, head INTEGER NOT NULL,
        forgotten_through INTEGER NOT NULL, clean INTEGER NOT NULL, boot TEXT NOT NULL,
        durability TEXT NOT NULL, identity TEXT NOT NULL) STRICT""",
    """CREATE TABLE message (
        position INTEGER PRIMARY KEY, channel TEXT NOT NULL, time_ms INTEGER NOT NULL, data BLOB NOT NULL,
        event TEXT, key TEXT) STRICT""",
    "CREATE TABLE lost (channel TEXT PRIMARY KEY, through INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE idempotency (
        position INTEGER PRIMARY KEY, channel TEXT NOT NULL, key TEXT NOT NULL, time_ms INTEGER NOT NULL)
        STRICT""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {USER_VERSION}",
    "INSERT INTO life VALUES (1, '', 0, 0, 1, '', '', '')",
)


def create(path: Path) -> None:
    """Make the file where there is none, for its owner only: it will hold what was published."""
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(
            f"The log {path} cannot be made: {error.strerror}. Make its folder, and let the server "
            "write to it."
        ) from None


def lock(path: Path, connection: sqlite3.Connection) -> str:
    """Lock the file and return the epoch in it, or nothing for a new file.

    Raises SettingsError for what is not ours, and leaves it as it is.
    """
    # From the first read on no other process gets in, and the index of the WAL is in this
    # process's memory instead of in a file of its own.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    # A name that is not UTF-8 is refused with its row (rows.py), and does not make reading fail.
    connection.text_factory = lambda text: str(text, "utf-8", "replace")
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application == version == tables == 0:
        return ""
    if application != APPLICATION_ID:
        raise SettingsError(foreign(path))
    if version != USER_VERSION:
        raise SettingsError(
            f"{path} has version {version} of the format, and this Tidings reads {USER_VERSION} only: "
            "use the Tidings that wrote it, or name another file."
        )
    return str(connection.execute("SELECT epoch FROM life").fetchone()[0])


def foreign(path: Path) -> str:
    return f"{path} is not a log of Tidings, and is left as it is: name another file."
