"""Where messages are kept and ordered: one file for each kind of log, behind one port (base.py)."""

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.logs.base import Log

__all__ = ["Log", "open_log"]


def open_log(url: str, retention: Retention | None = None, *, partitions: int = 1) -> Log:
    """Return the log that `url` names, not opened yet: memory, SQLite, Redis or NATS.

    With more than one of `partitions` it is that many logs at the same place: an engine that several machines
    share. Only what that log needs is imported. Raises SettingsError for a URL that names none, or where
    what it needs is not installed.
    """
    if partitions == 1:
        return _open_one(url, retention)
    if url.partition("://")[0] in ("memory", "sqlite"):
        raise SettingsError("Partitions are for logs that several machines share: redis:// or nats://.")
    if not 1 < partitions <= limits.PARTITIONS:
        raise SettingsError(f"A log has 1 to {limits.PARTITIONS} partitions, not {partitions}.")
    from tidings.logs.partitions import PartitionedLog

    return PartitionedLog([_open_one(url, retention, partition=number) for number in range(partitions)])


def _open_one(url: str, retention: Retention | None = None, *, partition: int | None = None) -> Log:
    scheme = url.partition("://")[0]
    try:
        match scheme:
            case "memory":
                from tidings.logs.memory import MemoryLog

                return MemoryLog(retention)
            case "sqlite":
                from tidings.logs.sqlite import SqliteLog

                return SqliteLog(url, retention)
            case "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel":
                from tidings.logs.redis import RedisLog

                return RedisLog(url, retention, partition=partition)
            case "nats" | "tls":
                from tidings.logs.nats import NatsLog

                return NatsLog(url, retention, partition=partition)
    except ModuleNotFoundError as error:
        extra = "nats" if scheme in ("nats", "tls") else "redis"
        raise SettingsError(
            f"A log at {scheme}:// needs the package {error.name}: pip install 'tidings[{extra}]'."
        ) from None
    raise SettingsError(
        f"There is no log of the kind {scheme!r}; there are memory://, sqlite:///FILE, redis:// and nats://."
    )
