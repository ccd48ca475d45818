"""nginx with Nchan: publishing and subscribing in C, with history, in a server that many have already.

Owns: its configuration (peers/nginx/nginx.conf), and a folder for it that goes when the bench ends. Does not
own: nginx, which is Debian's.
Invariant: buffer, retention, heartbeats and TCP_NODELAY are as Tidings has them by default.

Nchan hands out the posted body as it is. So that as many bytes arrive as with Tidings, as much more is posted
as Tidings' envelope has.
"""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from harness.servers import LONG_POLLING, POLLING, SSE, WEBSOCKET, Echo, Server

_HERE = Path(__file__).with_suffix("")


def _nginx() -> str:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""


def _module() -> Path | None:
    """Return where Nchan is, for the nginx that is installed."""
    if not _nginx():
        return None
    built = subprocess.run((_nginx(), "-V"), capture_output=True, text=True, check=False).stderr
    folder = re.search(r"--modules-path=(\S+)", built)
    module = Path(folder[1] if folder else "/usr/lib/nginx/modules") / "ngx_nchan_module.so"
    return module if module.exists() else None


def prepare() -> None:
    """Install Debian's packages where they are missing and we are root; raises RuntimeError else."""
    if _module():
        return
    install = ("apt-get", "install", "--yes", "--quiet", "nginx", "libnginx-mod-nchan")
    if os.geteuid() or not shutil.which("apt-get"):
        raise RuntimeError(f"nginx with Nchan is not installed; on Debian, as root: {' '.join(install)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(install, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode or not _module():
        raise RuntimeError(f"nginx with Nchan cannot be installed: {done.stderr.strip()}")


def version() -> str:
    """Return the versions of both."""
    said = subprocess.run((_nginx(), "-v"), capture_output=True, text=True, check=True).stderr
    package = ("dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan")
    nchan = ""
    if shutil.which("dpkg-query"):
        nchan = subprocess.run(package, capture_output=True, text=True, check=False).stdout
    return f"nginx {said.strip().rpartition('/')[2]}, Nchan {nchan.rpartition(':')[2] or 'unknown'}"


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
    folder.chmod(0o755)  # as root, nginx has another user for its worker
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def command(port: int) -> Sequence[str]:
    """Write the configuration for a port, and return how nginx is started with it."""
    file = _folder() / f"{port}.conf"
    file.write_text((_HERE / "nginx.conf").read_text().replace("PORT", str(port)))
    nginx = (_nginx(), "-p", str(_folder()), "-c", str(file), "-g", f"load_module {_module()};")
    return (sys.executable, str(_HERE / "listen.py"), str(port), *nginx)


_PATH = "/channels/bench{n}"
_SUBSCRIBE = {WEBSOCKET: _PATH, SSE: _PATH, LONG_POLLING: _PATH, POLLING: "/polls/bench{n}"}
# What Tidings puts around a message of this bench on a WebSocket.
_ENVELOPE = '{"message":{"id":"0123456789-1000","channel":"bench0","time":1764000000000,"data":}}'

NCHAN = Server(
    "nginx with Nchan",
    command,
    _SUBSCRIBE,
    publish=_PATH,
    prefix='{"due":',
    extra_size=len(_ENVELOPE),
    resume="etag",
    echo=Echo(_PATH, send="{data}", expect='{"due":'),
    note="no envelope around a message, but so much more is posted; a poll gets one message",
    prepare=prepare,
    version=version,
)
# With this subprotocol a WebSocket's messages carry their ids, and it can resume. It costs a little more.
NCHAN_IDS = Server(
    "nginx with Nchan, ids",
    command,
    {WEBSOCKET: _PATH},
    publish=_PATH,
    prefix="id: ",
    extra_size=len(_ENVELOPE) - len("id: 1764000000:10\ncontent-type: application/json\n\n"),
    resume="etag",
    note="its own lines with id and type before a message, instead of an envelope",
    prepare=prepare,
    version=version,
    headers=("Sec-WebSocket-Protocol: ws+meta.nchan",),
)

SERVERS: tuple[Server, ...] = (NCHAN, NCHAN_IDS)
