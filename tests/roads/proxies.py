"""nginx, HAProxy and Caddy before a server, with the blocks of docs/proxies.md.

Owns: a proxy's configuration, its folder, its ports and its life. Does not own: what is asked through it.
Invariant: of a documented block only addresses, names and certificates are replaced, each of which must be
found; everything else is run as it is written there.
"""

import asyncio
import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kit import ServerProcess
from ports import free_ports

PAGE: Final = Path(__file__).parents[2] / "docs" / "proxies.md"
PATIENCE: Final = 15.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What only a test needs: files in a folder of its own, and no daemon.
NGINX: Final = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
access_log off;
gzip on;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{block}
}}
"""

# An nginx that was told where the server is, and nothing else.
NGINX_AS_IT_COMES: Final = """\
server {{
    listen 127.0.0.1:{plain};
    location / {{ proxy_pass http://{server}; }}
}}
"""

CADDY: Final = """\
{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    grace_period 1s
    default_bind 127.0.0.1
}}
{block}
"""


@dataclass(frozen=True)
class Addresses:
    """What a configuration is filled in with. `plain` and `tls` are the proxy's own ports."""

    server: str
    folder: Path
    plain: int
    tls: int

    @property
    def certificate(self) -> Path:
        return self.folder / "site.pem"

    @property
    def key(self) -> Path:
        return self.folder / "site.key"


class Proxy:
    """A proxy of its own: `url` speaks HTTP/1.1; `tls_url`, where there is one, HTTP/2, too."""

    def __init__(self, kind: "Kind", server: ServerProcess, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        plain, tls = free_ports(2)
        addresses = Addresses(f"{server.host}:{server.port}", folder, plain, tls)
        if kind.tls:
            make_certificate(addresses)
        configuration = folder / "configuration"
        configuration.write_text(kind.configure(addresses))
        self.url = f"http://127.0.0.1:{plain}"
        self.tls_url = f"https://127.0.0.1:{tls}" if kind.tls else None
        self._port = plain
        self._command = [
            kind.program or "",
            *(word.format(folder=folder, file=configuration) for word in kind.words),
        ]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Run it, and return when it listens."""
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it only begins here
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "XDG_DATA_HOME": str(self._folder),
                    "XDG_CONFIG_HOME": str(self._folder),
                },
            )
        async with asyncio.timeout(PATIENCE):
            while True:
                assert self._process.poll() is None, (self._folder / "output").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        """End it: its connections are cut, and new ones are refused until `start`."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait, PATIENCE)
        self._process = None


def documented(language: str) -> str:
    """Return the one block of this language in docs/proxies.md."""
    (block,) = (text for kind, text in _BLOCK.findall(PAGE.read_text()) if kind == language)
    return str(block)


def filled_in(block: str, replacements: Mapping[str, str]) -> str:
    """Return the block with each of these texts replaced; each must be there once."""
    for old, new in replacements.items():
        assert block.count(old) == 1, f"docs/proxies.md no longer says {old!r} once"
        block = block.replace(old, new)
    return block


def make_certificate(addresses: Addresses) -> None:
    """Write a certificate for this machine, its key, and both in one file."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", addresses.key, "-out", addresses.certificate),
        ],
        check=True,
        capture_output=True,
    )
    both = addresses.certificate.read_bytes() + addresses.key.read_bytes()
    (addresses.folder / "both.pem").write_bytes(both)


# --- the configurations -------------------------------------------------------------------------


def _nginx(block: str, addresses: Addresses) -> str:
    user = "user root;" if os.geteuid() == 0 else ""  # the worker writes into our folder
    return NGINX.format(folder=addresses.folder, user=user, block=block)


def _nginx_as_it_comes(addresses: Addresses) -> str:
    return _nginx(NGINX_AS_IT_COMES.format(plain=addresses.plain, server=addresses.server), addresses)


def _nginx_documented(addresses: Addresses) -> str:
    listen = f"listen 127.0.0.1:{addresses.tls} ssl http2;\n    listen 127.0.0.1:{addresses.plain};"
    block = filled_in(
        documented("nginx"),
        {
            "127.0.0.1:8080": addresses.server,
            "listen 443 ssl http2;": listen,
            "/etc/ssl/push.example.org.pem": str(addresses.certificate),
            "/etc/ssl/push.example.org.key": str(addresses.key),
        },
    )
    return _nginx(block, addresses)


def _haproxy_documented(addresses: Addresses, tunnel: str = "1h") -> str:
    return filled_in(
        documented("haproxy"),
        {
            "127.0.0.1:8080": addresses.server,
            "timeout tunnel  1h": f"timeout tunnel  {tunnel}",
            "bind :443": f"bind 127.0.0.1:{addresses.plain}\n    bind 127.0.0.1:{addresses.tls}",
            "/etc/haproxy/push.example.org.pem": str(addresses.folder / "both.pem"),
        },
    )


def _caddy_documented(addresses: Addresses) -> str:
    sites = (
        f"http://:{addresses.plain} {{",
        f"https://:{addresses.tls} {{\n    tls {addresses.certificate} {addresses.key}",
    )
    replaced = [
        filled_in(documented("caddyfile"), {"127.0.0.1:8080": addresses.server, "push.example.org {": site})
        for site in sites
    ]
    return CADDY.format(block="\n".join(replaced))


@dataclass(frozen=True)
class Kind:
    """A program and how it is set up."""

    program: str | None
    words: tuple[str, ...]
    configure: Callable[[Addresses], str]
    tls: bool = True


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


_NGINX_WORDS = ("-p", "{folder}", "-e", "{folder}/error.log", "-c", "{file}")
_HAPROXY_WORDS = ("-db", "-f", "{file}")
_CADDY_WORDS = ("run", "--adapter", "caddyfile", "--config", "{file}")

AS_IT_COMES: Final = "nginx as it comes"
KINDS: Final[Mapping[str, Kind]] = {
    AS_IT_COMES: Kind(_find("nginx"), _NGINX_WORDS, _nginx_as_it_comes, tls=False),
    "nginx": Kind(_find("nginx"), _NGINX_WORDS, _nginx_documented),
    "haproxy, tunnel 5 s": Kind(
        _find("haproxy"), _HAPROXY_WORDS, functools.partial(_haproxy_documented, tunnel="5s")
    ),
    "haproxy": Kind(_find("haproxy"), _HAPROXY_WORDS, _haproxy_documented),
    "caddy": Kind(_find("caddy"), _CADDY_WORDS, _caddy_documented),
}
