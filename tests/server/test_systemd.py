"""Started as systemd starts services: sockets handed over, and words about our state. It needs no systemd."""

import asyncio
import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kit import ServerProcess

# What systemd does between fork and exec: the socket becomes descriptor 3, the variables name our process.
_AS_SYSTEMD = """
import os, sys
passed, count, whose = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.dup2(passed, 3, inheritable=True)
os.environ |= {"LISTEN_FDS": count, "LISTEN_PID": whose or str(os.getpid()), "LISTEN_FDNAMES": "a.socket"}
os.execv(sys.executable, [sys.executable, "-m", "tidings", "serve", *sys.argv[4:]])
"""


class Manager:
    """The end of NOTIFY_SOCKET that a service manager reads.

    It reads at once whatever comes: the kernel keeps but some ten words, and those beyond are lost.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._heard: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while word := self._socket.recv(4096):
            self._heard.put(word.decode())

    def hears(self) -> str:
        """Return the next word."""
        return self._heard.get(timeout=60)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._socket.close()


@pytest.fixture(params=["a path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = (
        str(tmp_path / "notify")
        if request.param == "a path"
        else f"@tidings-test-{os.getpid()}-{id(request)}"
    )
    made = Manager(name)
    yield made
    made.close()


@contextmanager
def activated(
    listening: socket.socket, *flags: str, count: str = "1", whose: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Yield a server that was handed `listening`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _AS_SYSTEMD, str(listening.fileno()), count, whose, *flags],
        pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()


def url_of(process: "subprocess.Popen[str]") -> str:
    """Return where the server says that it listens."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"listening on (\S+)", line):
            return found[1]
    raise AssertionError("it did not say where it listens")


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_it_says_when_it_is_ready_that_it_lives_and_when_it_stops(
    manager: Manager, flags: tuple[str, ...]
) -> None:
    server = ServerProcess(
        "--drain", "0", *flags, env={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"}
    )
    try:
        assert manager.hears() == "READY=1"
        for _ in range(3):
            assert manager.hears() == "WATCHDOG=1"
        server.process.send_signal(signal.SIGTERM)
        while (word := manager.hears()) == "WATCHDOG=1":
            pass
        assert word == "STOPPING=1"
        assert server.process.wait(20) == 0
    finally:
        server.kill()


def test_a_watchdog_for_another_process_is_not_fed(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    server = ServerProcess("--drain", "0", env=environment)
    try:
        assert manager.hears() == "READY=1"
        server.process.send_signal(signal.SIGTERM)
        assert manager.hears() == "STOPPING=1"
        assert server.process.wait(20) == 0
    finally:
        server.kill()


def test_a_rolling_restart_is_told(manager: Manager) -> None:
    server = ServerProcess("--drain", "0", "--workers", "2", env={"NOTIFY_SOCKET": manager.address})
    try:
        assert manager.hears() == "READY=1"
        server.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.hears())
        assert manager.hears() == "READY=1"
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_manager_that_does_not_listen_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    server = ServerProcess("--drain", "0", env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    try:
        assert server.stop() == 0
    finally:
        server.kill()
    assert "notify_failed" in "".join(server.errors)


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_it_serves_on_the_socket_that_it_is_handed(
    tmp_path: Path, kind: str, flags: tuple[str, ...]
) -> None:
    path = tmp_path / "given.sock"
    with contextlib.closing(socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)) as listening:
        listening.bind(("127.0.0.1", 0) if kind == "tcp" else str(path))
        listening.listen()
        # A client that comes before the server does is kept waiting, not refused.
        early = socket.socket(listening.family)
        early.connect(listening.getsockname())
        early.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with activated(listening, "--drain", "0", "--port", "1", *flags) as process:
            url = await asyncio.to_thread(url_of, process)
            name = f"http://127.0.0.1:{listening.getsockname()[1]}" if kind == "tcp" else f"unix:{path}"
            assert url == name
            early.settimeout(20)
            assert (await asyncio.to_thread(early.recv, 100)).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
        early.close()
        # It is not the server's to remove.
        assert kind == "tcp" or path.exists()


def test_sockets_that_were_meant_for_another_process_are_not_taken() -> None:
    with (
        contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening,
        activated(listening, "--port", "0", whose="1") as process,
    ):
        assert not url_of(process).endswith(f":{listening.getsockname()[1]}")


def test_a_socket_that_others_can_reach_needs_open() -> None:
    with (
        contextlib.closing(socket.create_server(("0.0.0.0", 0))) as listening,
        activated(listening) as process,
    ):
        assert process.wait(30) == 2
        assert process.stderr is not None
        assert "--open" in process.stderr.read()


def test_what_is_no_socket_is_said(tmp_path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listening:
        for count in ("1", "lots"):
            with activated(listening, count=count) as process:
                assert process.wait(30) == 2
                assert process.stderr is not None
                said = process.stderr.read()
                assert "LISTEN_FDS" in said
                assert "Traceback" not in said
