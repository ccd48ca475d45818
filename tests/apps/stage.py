"""What the demos' tests stand on: `tidings demo NAME` as a process, started again where it was.

Owns: the process and its address. Does not own: the browser (browser/conftest.py).
Invariant: whatever a test does, nothing that the demo started is left.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from ports import free_port

_ADDRESS = re.compile(r"^  \w+: (http://\S+)/$")
TRANSPORTS = {
    "polling": "Polling",
    "long-polling": "Long-polling",
    "sse": "Server-Sent Events",
    "websocket": "WebSocket",
}


class Demo:
    """One demo, with its server and its program."""

    def __init__(self, name: str, *flags: str) -> None:
        self.name = name
        self.flags = flags
        self.url = ""
        self.said: list[str] = []
        self._port = free_port()  # which stays ours between two lives
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, on the port that it had before, and wait until it says where."""
        command = [sys.executable, "-m", "tidings", "demo", self.name, "--port", str(self._port), *self.flags]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._process = process
        started = threading.Event()
        threading.Thread(target=self._read, args=(process, started), daemon=True).start()
        if not started.wait(30) or not self.url:
            self.stop()
            raise RuntimeError("the demo did not start:\n" + "".join(self.said))

    def _read(self, process: "subprocess.Popen[str]", started: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)
            if found := _ADDRESS.match(line):
                self.url = found[1]
                started.set()
        started.set()
        process.stderr.close()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it as Ctrl-C does, and return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(30)

    def wait(self) -> int:
        """Return the exit code when it has ended by itself."""
        assert self._process is not None
        return self._process.wait(30)

    @property
    def pid(self) -> int:
        """The command itself."""
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        """Return the processes that it has started."""
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


Starting = Callable[..., Demo]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
