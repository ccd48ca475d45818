"""A real redis-server for a test: on a free port, with a folder of its own, ended by its own pid."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import hiredis

from ports import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a new certificate for 127.0.0.1, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


class RedisServer:
    """One server process, `start`ed, and started again at the same port with the same folder.

    `options` are lines of redis.conf. With `sentinel` it is a Sentinel. `tls` is a certificate and its key.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        appendonly: bool = True,
        sentinel: bool = False,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._sentinel = sentinel
        self._password: tuple[str, ...] = ()
        listen = f"port {self.port}"
        # A plain port beside the secure one is how the test itself looks in.
        self.plain_port = self.port
        if tls is not None:
            self.plain_port = free_port()
            listen = f"port {self.plain_port}\ntls-port {self.port}\ntls-auth-clients no\n"
            listen += f"tls-cert-file {tls[0]}\ntls-key-file {tls[1]}"
        lines = [listen, "bind 127.0.0.1", f"dir {folder}", "daemonize no", f"logfile {folder / 'log'}"]
        if not sentinel:
            lines += ['save ""', f"appendonly {'yes' if appendonly else 'no'}"]
            # With everysec Redis puts off writing for up to two seconds while an fsync takes long: a kill
            # then loses what it had acknowledged. So each answer follows its write.
            lines += ["appendfsync no"]
        self.conf = folder / "redis.conf"
        self.conf.write_text("\n".join([*lines, *options]) + "\n")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def url(self, name: str = "tidings", *, scheme: str = "redis", user: str = "", more: str = "") -> str:
        return f"{scheme}://{user}127.0.0.1:{self.port}/0?name={name}{more}"

    def login(self, *words: str) -> None:
        """Log in with these words from now on."""
        self._password = words

    def start(self) -> Self:
        assert PROGRAM is not None, "redis-server is not installed"
        command = [PROGRAM, str(self.conf), *(["--sentinel"] if self._sentinel else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.call("PING") == b"PONG" and (
                    self._sentinel or b"loading:0" in self.call("INFO", "persistence")
                ):
                    return self
            except (OSError, hiredis.ReplyError):
                pass  # not there yet, or loading
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(20)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Take away what it has kept, while it does not run."""
        for kept in (*self.folder.glob("appendonlydir"), *self.folder.glob("*.rdb")):
            shutil.rmtree(kept) if kept.is_dir() else kept.unlink()

    def call(self, *command: str | int | bytes) -> Any:
        """Return what it answers, on a connection of its own. An error is raised."""
        reader = hiredis.Reader()
        with socket.create_connection(("127.0.0.1", self.plain_port), timeout=5) as link:
            commands = [command] if not self._password else [("AUTH", *self._password), command]
            answer: Any = None
            for each in commands:
                link.sendall(hiredis.pack_command(each))  # type: ignore[arg-type]  # its stub knows one argument
                while (answer := reader.gets()) is False:
                    data = link.recv(65536)
                    if not data:
                        raise ConnectionError("closed")
                    reader.feed(data)
                if isinstance(answer, hiredis.ReplyError):
                    raise answer
            return answer

    def until(self, condition: Callable[[Any], bool], *command: str | int | bytes) -> Any:
        """Return its answer once it is what is waited for."""
        deadline = time.monotonic() + 90
        answer: Any = None
        while True:
            try:
                if condition(answer := self.call(*command)):
                    return answer
            except OSError as cut:  # a Sentinel cuts everybody off when it changes a server's part
                answer = cut
            assert time.monotonic() < deadline, f"{command} never became so: {answer!r}"
            time.sleep(0.02)

    def clients(self) -> int:
        """Return how many connections it has besides the one that asks, and those of replicas."""
        return len([line for line in self.call("CLIENT", "LIST", "TYPE", "normal").splitlines() if line]) - 1
