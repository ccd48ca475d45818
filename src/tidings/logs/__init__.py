"""Where messages are kept and ordered: one file for each kind of log, behind one port (base.py)."""

from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.logs.base import Log

__all__ = ["Log", "open_log"]


def open_log(url: str, retention: Retention | None = None) -> Log:
    """Return the log that `url` names: `memory://`.

    Only what that log needs is imported. Raises SettingsError for a URL that names none.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        from tidings.logs.memory import MemoryLog

        return MemoryLog(retention)
    raise SettingsError(f"There is no log of the kind {scheme!r}; there is memory://.")
