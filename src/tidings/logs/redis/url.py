"""Where a Redis log is: what its URL says, checked.

    redis://[user:password@]host[:port][,host…][/db]                  rediss:// the same over TLS
    redis+sentinel://[user:password@]host[:port],host…/service[/db]   rediss+sentinel://

Of several hosts the first is used that is there and takes writes; any node of a cluster will do.
Parameters: `name` (the prefix of all keys), over TLS `ca`, `cert` and `key` (files), with Sentinel
`sentinel_user` and `sentinel_password`.

Owns: the parsing, the names of the keys. Does not own: connections (link.py).
Invariant: no text that this module makes for others to see holds a credential.
"""

import re
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tidings.core.errors import SettingsError

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_TLS_FILES: Final = ("ca", "cert", "key")
_SENTINEL: Final = ("sentinel_user", "sentinel_password")
_FORM: Final = (
    "redis://[user:password@]host[:port][,host…][/db] or redis+sentinel://host[:port],host…/service[/db]"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One Redis, or the Sentinels that know which one it is, and the keys of one log there."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    service: str | None
    db: int
    keys: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_user: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The URL without what is secret in it."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = "" if self.service is None else f"/{self.service}"
        return f"{self.scheme}://{hosts}{service}/{self.db}"

    def key(self, what: str) -> str:
        """Return the name of a key. All share one hash tag, so one script may use them on a cluster."""
        return f"{{{self.keys}}}:{what}"


def parse(url: str, partition: int | None = None) -> Place:
    """Return what `url` says. Raises SettingsError for what it cannot mean."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise SettingsError(f"The log's URL cannot be read. Its form is {_FORM}.") from None
    sentinel, secure = parts.scheme.endswith("+sentinel"), parts.scheme.startswith("rediss")
    known = {"name", *(_TLS_FILES if secure else ()), *(_SENTINEL if sentinel else ())}
    if unknown := sorted(query.keys() - known):
        raise SettingsError(
            f"A log at {parts.scheme}:// has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}."
        )
    name = query.get("name", "tidings")
    if _NAME(name) is None:
        raise SettingsError("The log's name is 1 to 64 characters of A-Z a-z 0-9 . _ -.")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    path = parts.path.strip("/").split("/")
    service = None
    if sentinel:
        service = unquote(path.pop(0))
        if not service:
            raise SettingsError(f"The log's URL names no service. Its form is {_FORM}.")
    db = "/".join(path) or "0"
    if not db.isascii() or not db.isdigit() or len(db) > 5:
        raise SettingsError(f"The log's URL ends with the number of a database. Its form is {_FORM}.")
    return Place(
        parts.scheme,
        tuple(_host(host, _SENTINEL_PORT if sentinel else _PORT) for host in hosts.split(",")),
        service,
        int(db),
        name if partition is None else f"{name}.{partition}",
        unquote(user) or None,
        unquote(password) or None,
        query.get("sentinel_user"),
        query.get("sentinel_password"),
        _tls(query) if secure else None,
    )


def _host(text: str, default: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]@/\s]+))(?::([0-9]{1,5}))?", text)
    if found is None or not 0 < int(found[3] or default) < 65536:
        raise SettingsError(f"The log's URL names no host and port. Its form is {_FORM}.")
    return found[1] or found[2], int(found[3] or default)


def _tls(query: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=query.get("ca"))
        if "cert" in query:
            context.load_cert_chain(query["cert"], query.get("key"))
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"The log's TLS files cannot be used ({type(error).__name__}): check ca, cert and key."
        ) from None
    return context
