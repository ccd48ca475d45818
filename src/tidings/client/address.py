"""Where a server is: an `http:` or `https:` URL, or `unix:PATH` for a socket on this host.

Owns: reading the text that people write, and the URL of channels below it. Does not own: connecting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from tidings.client.errors import ClientError, Refused
from tidings.core.errors import Refusal
from tidings.core.names import check_channel


class BadAddress(ClientError, ValueError):
    """The text is no address of a server."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address. `prefix` is the path that the server is mounted under, without a last slash."""

    text: str
    scheme: str
    host: str
    port: int
    prefix: str
    # The path of a Unix socket; None: TCP.
    uds: str | None

    @property
    def origin(self) -> str:
        """What stands for the way to this server: all addresses with the same one are reached alike."""
        return self.uds or f"{self.scheme}://{self.host}:{self.port}"

    def path(self, channels: tuple[str, ...]) -> str:
        """Return the path of these channels; every character of a checked name may stand in it as it is."""
        return f"{self.prefix}/channels/{','.join(channels)}"

    def url(self, channels: tuple[str, ...]) -> str:
        """Return the whole URL; over a Unix socket its host is only a name for the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path(channels)}"


def read_address(text: str) -> Address:
    """Return the address that `text` names, or raise BadAddress (which says what one looks like)."""
    if text.startswith("unix:"):
        uds = text.removeprefix("unix:")
        # unix:///run/tidings.sock is the same file as unix:/run/tidings.sock.
        uds = "/" + uds.lstrip("/") if uds.startswith("/") else uds
        if not uds or "\0" in uds:
            raise BadAddress(f"{text!r} names no socket; write unix:/path/to/socket")
        return Address(text, "http", "localhost", 80, "", uds)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as why:
        raise BadAddress(f"{text!r} is not a URL: {why}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadAddress(
            f"{text!r} is not the address of a server; write http://HOST:PORT, https://HOST:PORT or unix:PATH"
        )
    if parts.username is not None or parts.query or parts.fragment:
        # Accepted and dropped they would look as if they did something.
        raise BadAddress(f"{text!r} has more than a scheme, a host, a port and a path")
    return Address(
        text,
        parts.scheme,
        parts.hostname,
        port or (443 if parts.scheme == "https" else 80),
        quote(parts.path.rstrip("/"), safe="/%~:@!$&'()*+,;="),
        None,
    )


def read_channels(channels: str | Sequence[str]) -> tuple[str, ...]:
    """Return the checked names, each once; a string is one name or several with commas between.

    Raises Refused with the code that the server would answer with, before anything is sent. How many names
    one request may have is the server's to say.
    """
    names = channels.split(",") if isinstance(channels, str) else channels
    try:
        checked = tuple(dict.fromkeys(check_channel(name) for name in names))
    except Refusal as no:
        raise Refused(no.kind.code, no.kind.status, no.detail) from None
    if not checked:
        raise Refused("bad_channel", 400, "No channel was named.")
    return checked
