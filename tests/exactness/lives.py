"""The server under test: one port, several lives.

Owns: starting, freezing, stopping and killing it, and what it said on standard error. Does not own: when
(nemesis.py).
Invariant: at most one life at a time, all on the same port.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ports import free_port

_HERE = Path(__file__).parent


class Life:
    """One process. `errors` are the lines of its standard error, as they come."""

    def __init__(self, port: int, settings: Mapping[str, Any], witness: Path | None = None) -> None:
        self.errors: list[str] = []
        self.frozen = False
        self.port = port
        asked = {"port": port, **settings}
        command = [sys.executable, str(_HERE / "serve.py"), json.dumps(asked)]
        if witness is not None:
            command.append(str(witness))
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            if "listening on" in line:
                self._listening.set()
        self._listening.set()

    def wait_until_listening(self) -> None:
        """Return when clients can connect."""
        if not self._listening.wait(30) or not any("listening on" in line for line in self.errors):
            self.kill()
            raise RuntimeError("the server did not start:\n" + "".join(self.errors))

    def kill(self) -> None:
        """End it without a word."""
        if self.process.poll() is None:
            self.process.kill()
        self._ended(30)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.thaw()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def _ended(self, seconds: float) -> int | None:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(5)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return code

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, or None when it goes on after `seconds`."""
        return self._ended(seconds)

    def freeze(self) -> None:
        """Let it do nothing, and notice nothing (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        if self.frozen and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def children(self) -> list[int]:
        """Return its workers' process ids, the oldest first."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def kill_child(self, pid: int) -> None:
        """End one of its workers without a word."""
        assert pid in self.children()
        os.kill(pid, signal.SIGKILL)

    def freeze_child(self, pid: int) -> None:
        """Let one of its workers do nothing."""
        assert pid in self.children()
        os.kill(pid, signal.SIGSTOP)

    def thaw_child(self, pid: int) -> None:
        """Let it go on."""
        if pid in self.children():
            os.kill(pid, signal.SIGCONT)

    @property
    def memory(self) -> int:
        """The resident memory of it and its workers in bytes."""
        pages = [int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in (self.pid, *self.children())]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def descriptors(self) -> int:
        """How many files and sockets it and its workers have open."""
        return sum(len(os.listdir(f"/proc/{p}/fd")) for p in (self.pid, *self.children()))  # noqa: PTH208  only their number


class Lives:
    """The server's port, and the life that listens on it now."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.settings = dict(settings or {})
        self.past: list[Life] = []
        self.now = self._start()

    def _start(self) -> Life:
        life = Life(self.port, self.settings)
        life.wait_until_listening()
        self.past.append(life)
        return life

    def again(self) -> Life:
        """Begin the next life; the last one has ended."""
        self.now = self._start()
        return self.now

    @property
    def count(self) -> int:
        """How many lives there were, this one included."""
        return len(self.past)

    def tracebacks(self) -> list[str]:
        """Return what any life said of itself that no server should have to say."""
        found = []
        for number, life in enumerate(self.past, 1):
            text = "".join(life.errors)
            for word in ("Traceback", "ERROR", "CRITICAL", "never awaited", "never retrieved"):
                if word in text:
                    start = text.index(word)
                    found.append(f"life {number} said:\n{text[max(0, start - 500) : start + 3000]}")
                    break
        return found
