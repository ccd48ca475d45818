"""What tests share: a real server process on a free port."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ports import free_port

_LISTENING = re.compile(r"listening on (\S+)")


class ServerProcess:
    """A `tidings serve` of its own, on a free port of 127.0.0.1 unless the flags say otherwise.

    `url` is its address as it printed it; `errors` collects what it wrote on standard error.
    """

    def __init__(
        self,
        *flags: str,
        env: Mapping[str, str] | None = None,
        limits: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "tidings", "serve"]
        if not any(flag in ("--port", "--uds") for flag in flags):
            command += ["--port", str(free_port())]  # which stays ours between two lives
        self.process = subprocess.Popen(
            [*command, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            preexec_fn=partial(_bound, limits) if limits else None,
        )
        self.pid = self.process.pid
        self.errors: list[str] = []
        self.url = ""
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(listening,), daemon=True)
        self._reader.start()
        if not listening.wait(60) or not self.url:  # one that ends is noticed at once
            self.kill()
            raise RuntimeError("the server did not start:\n" + "".join(self.errors))
        self.host, _, port = self.url.partition("://")[2].rpartition(":")
        self.port = int(port) if port.isdigit() else 0

    def _read(self, listening: threading.Event) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            if found := _LISTENING.search(line):
                self.url = found[1]
                listening.set()
        listening.set()

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def kill(self) -> None:
        """End it without a word."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        statm = Path(f"/proc/{self.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Return how long it has run on a processor, whatever else the machine does."""
        return time.clock_gettime((~self.pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


def _bound(limits: Mapping[int, tuple[int, int]]) -> None:
    for kind, values in limits.items():
        resource.setrlimit(kind, values)


@contextmanager
def serving(
    *flags: str, env: Mapping[str, str] | None = None, limits: Mapping[int, tuple[int, int]] | None = None
) -> Iterator[ServerProcess]:
    """Yield a running server, and stop it afterwards. `limits` are soft and hard ones (setrlimit(2))."""
    server = ServerProcess(*flags, env=env, limits=limits)
    try:
        yield server
    finally:
        server.kill()
