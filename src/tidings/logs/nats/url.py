"""What a `nats://` URL says: where the servers are, who we are to them, and which stream is ours.

Owns: the parsing, and the words for what is wrong. Does not own: connecting (link.py).
Invariant: no text made here, or by `Place`, holds a user, a password, a token or what a file of them holds.
"""

import re
import ssl
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

from tidings.core.errors import SettingsError

DEFAULT_PORT: Final = 4222
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?").fullmatch
_PARAMETERS: Final = ("name", "replicas", "storage", "creds", "ca")
_SHAPE: Final = (
    "nats://[user:password@|token@]host:port[,host:port…][?name=…&replicas=…&storage=…&creds=…&ca=…]"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a log is kept: servers, stream and credentials. Its text shows no credentials."""

    servers: tuple[tuple[str, int], ...]
    stream: str
    tls: bool = False
    replicas: int = 1
    storage: str = "file"
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    creds: str | None = field(default=None, repr=False)
    ca: str | None = None

    def __str__(self) -> str:
        return ("tls://" if self.tls else "nats://") + ",".join(f"{h}:{p}" for h, p in self.servers)

    def ssl_context(self) -> ssl.SSLContext:
        """Return what a server's certificate is checked with. Raises SettingsError for a bad `ca`."""
        try:
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"The certificates in ca={self.ca} cannot be read: {error}.") from None


def parse(url: str, partition: int | None = None) -> Place:
    """Return the place that `url` names. Raises SettingsError where it names none, without repeating it."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("nats", "tls"):
        raise SettingsError(f"A log in NATS is named by {_SHAPE}.")
    if "#" in rest:
        # An unescaped # in a password would end the address there, and the rest would go unsaid.
        raise SettingsError("A NATS URL has no #; in a password it is written %23.")
    address, _, query = rest.partition("?")
    credentials, at, hosts = address.rpartition("@")
    hosts = hosts.rstrip("/")
    if "/" in hosts:
        raise SettingsError(f"A NATS URL has no path, and in a password / is written %2F: {_SHAPE}.")
    user, colon, password = credentials.partition(":")
    if at and not user:
        raise SettingsError(f"There is an @ in the NATS URL and no user or token before it: {_SHAPE}.")
    parameters = _parameters(query)
    name = parameters.get("name", "tidings")
    if _NAME(name) is None:
        raise SettingsError("name= in a NATS URL is 1 to 64 characters of A-Z a-z 0-9 _ -.")
    replicas = parameters.get("replicas", "1")
    if replicas not in ("1", "2", "3", "4", "5"):
        raise SettingsError("replicas= in a NATS URL is a number from 1 to 5.")
    storage = parameters.get("storage", "file")
    if storage not in ("file", "memory"):
        raise SettingsError("storage= in a NATS URL is file or memory.")
    creds = parameters.get("creds")
    if creds is not None and not Path(creds).is_file():
        raise SettingsError("creds= in a NATS URL names a file that is not there.")
    if creds is not None and find_spec("nkeys") is None:
        raise SettingsError("creds= in a NATS URL needs the package nkeys: pip install nkeys.")
    return Place(
        servers=tuple(_server(host) for host in hosts.split(",")),
        stream=name if partition is None else f"{name}-{partition}",
        tls=scheme == "tls" or "ca" in parameters,
        replicas=int(replicas),
        storage=storage,
        user=unquote(user) if colon else None,
        password=unquote(password) if colon else None,
        token=unquote(user) if at and not colon else None,
        creds=creds,
        ca=parameters.get("ca"),
    )


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _PARAMETERS or name in parameters:
            # What is not known is not shown either: it may be a password in the wrong place.
            raise SettingsError(f"A NATS URL takes {', '.join(_PARAMETERS)}, each once, and nothing else.")
        parameters[name] = value
    return parameters


def _server(text: str) -> tuple[str, int]:
    found = _HOST(text)
    port = int(found[2] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise SettingsError(f"A server in a NATS URL is host or host:port: {_SHAPE}.")
    return found[1], port
