"""A real nginx before a server, with a cache shared by all who ask: what an operator would set up.

Owns: its configuration, its files in a folder of its own, its life. Does not own: what is asked through it.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import raw
from kit import ServerProcess
from ports import free_port

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

# One key for all who ask the same URL. While one question is on its way to the server, those that ask
# the same wait for its answer, up to a minute: as long as a long-poll may wait, and a little more.
CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format cost '$upstream_cache_status $request_uri';
    access_log {folder}/access.log cost;
    proxy_cache_path {folder}/cache keys_zone=answers:1m;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 100000;
        location / {{
            proxy_pass http://{server};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 90s;
            proxy_cache answers;
            proxy_cache_key $request_uri;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
        }}
    }}
}}
"""


class Nginx(ServerProcess):
    """An nginx of its own, addressed as a server is."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        assert PROGRAM is not None
        self.port = free_port()
        self.host = "127.0.0.1"
        self.url = f"http://{self.host}:{self.port}"
        self.errors = []
        self._log = folder / "access.log"
        self._seen = 0
        configuration = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # the worker writes into our folder
        configuration.write_text(
            CONFIGURATION.format(
                folder=folder, port=self.port, server=f"{server.host}:{server.port}", user=user
            )
        )
        self.process = subprocess.Popen(
            [PROGRAM, "-p", folder, "-e", folder / "error.log", "-c", configuration],
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self.process.pid

    def end(self) -> None:
        """End it, its worker, too."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    async def passed_on(self, answered: int) -> int:
        """Return how many of the last `answered` requests went on to the server.

        Waits until so many were answered since the last call: the log is written behind the answer.
        """
        async with asyncio.timeout(raw.PATIENCE):
            while len(lines := self._log.read_text().splitlines()) < self._seen + answered:  # noqa: ASYNC110  a file
                await asyncio.sleep(0.01)
        new, self._seen = lines[self._seen :], len(lines)
        assert len(new) == answered
        return sum(not line.startswith(("HIT ", "STALE ")) for line in new)


@asynccontextmanager
async def nginx_before(server: ServerProcess, folder: Path) -> AsyncIterator[Nginx]:
    """Yield a running nginx before `server`."""
    nginx = Nginx(server, folder)
    try:
        async with asyncio.timeout(raw.PATIENCE):
            while True:
                try:
                    (await raw.Wire.connect(nginx)).abort()
                    break
                except ConnectionRefusedError:
                    assert nginx.process.poll() is None, (folder / "error.log").read_text()
                    await asyncio.sleep(0.01)
        yield nginx
    finally:
        nginx.end()
