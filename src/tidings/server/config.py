"""The server's settings, and whether they fit together.

Owns: names, defaults, checks. Inner parts never see this: app.py hands them plain values.
"""

from ipaddress import ip_address
from pathlib import Path

import msgspec

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.patterns import SlowPolicy, compile_pattern


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How `tidings serve` runs. Durations are seconds, sizes bytes.

    `open` allows an address that others can reach, though everyone may then read and publish.
    `origins` are the origins of pages that may connect besides the server's own, like
    `https://example.org`. `static` is a folder whose files are served beside the channels, its index.html
    at `/`. `uds` serves on a Unix socket instead of `host` and `port`.
    `slow` are rules for readers that are behind, by channel pattern; the first that matches holds.
    `partitions` is over how many streams the channels of a log in Redis or NATS are split.
    `workers` are processes that share the work; `connections` is for all of them together.
    Answers about channels that match `public` may be kept by a shared cache for `public_cache` seconds.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    uds: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    open: bool = False
    origins: tuple[str, ...] = ()
    static: str | None = None
    log: str = "memory://"
    partitions: int = 1
    workers: int = 1
    log_level: str = "info"
    drain: float | None = None
    connections: int = limits.CONNECTIONS
    history_count: int = limits.HISTORY_COUNT
    history_age: float = limits.HISTORY_AGE
    history_bytes: int = limits.HISTORY_BYTES
    slow: tuple[tuple[str, SlowPolicy], ...] = ()
    public_cache: float = 0.0
    public: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise SettingsError where the settings cannot be meant so."""
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"--port is 0 to 65535, not {self.port}.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key go together: give both, or neither.")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not Path(path).is_file():
                raise SettingsError(f"There is no file {path}.")
        if self.static is not None and not Path(self.static).is_dir():
            raise SettingsError(f"There is no folder {self.static}.")
        for origin in self.origins:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest:
                raise SettingsError(
                    f"--allow-origin takes an origin like https://example.org, with no path, not {origin!r}."
                )
        if self.drain is not None and not 0 <= self.drain <= 3600:
            raise SettingsError(f"--drain is 0 to 3600 seconds, not {self.drain:g}.")
        if min(self.connections, self.history_count, self.history_bytes) < 1 or self.history_age <= 0:
            raise SettingsError("Limits are at least 1; no limit can be switched off.")
        # HTTP knows whole seconds only, and a cache passes over an age that is none.
        if not 0 <= self.public_cache <= 3600 or self.public_cache % 1:
            raise SettingsError(f"--public-cache is 0 to 3600 whole seconds, not {self.public_cache:g}.")
        if bool(self.public) != bool(self.public_cache):
            raise SettingsError("--public-cache and --public go together: how long, and which channels.")
        for pattern in (*self.public, *(pattern for pattern, _ in self.slow)):
            compile_pattern(pattern)
        if self.partitions != 1 and self.log.partition("://")[0] in ("memory", "sqlite"):
            raise SettingsError("--partitions is for a log that several machines share: redis:// or nats://.")
        if not 1 <= self.partitions <= limits.PARTITIONS:
            raise SettingsError(f"--partitions is 1 to {limits.PARTITIONS}, not {self.partitions}.")
        if not 1 <= self.workers <= limits.WORKERS:
            raise SettingsError(f"--workers is 1 to {limits.WORKERS}, one for each core; not {self.workers}.")
        if self.connections < self.workers:
            raise SettingsError("--connections is for all workers together, and at least one for each.")
        if self.uds is None and not self.open and not is_loopback(self.host):
            raise others_reach(self.host)


def others_reach(host: str) -> SettingsError:
    """Return why the server does not start at `host`."""
    return SettingsError(
        f"On {host} others can reach the server, and it would let everyone read and publish. "
        "Say --open if that is meant, or serve on 127.0.0.1 behind a proxy that checks who comes."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
