"""A real NATS server with JetStream on a free port, with its own folder."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ports import free_ports

_START = 20.0  # seconds


class NatsServer:
    """A `nats-server -js`. `configuration` is added to its file; the folder outlives a stop and a kill."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir(parents=True, exist_ok=True)
        self.port, self.http = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"nats://{self.address}"
        self._file = folder / "nats.conf"
        self._file.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.http}"\n'
            f'jetstream {{ store_dir: "{self.store}" }}\n{configuration}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers with JetStream."""
        output = (self.folder / "nats.log").open("ab")
        with output:
            self._process = subprocess.Popen(
                ["nats-server", "-c", str(self._file)], stdout=output, stderr=output
            )
        deadline = time.monotonic() + _START
        while True:
            try:
                self.monitor("jsz")
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "nats.log").read_text()) from None
                time.sleep(0.01)

    def stop(self) -> None:
        """Stop it in order, also where it is frozen or stopped already."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash of the process would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(30)

    def freeze(self) -> None:
        """Stop it from running, as it stands: connections stay and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Its threads may go on for a moment, and answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Start it again with nothing in its folder."""
        self.kill()
        shutil.rmtree(self.store)
        self.store.mkdir()
        self.start()

    def copy_store(self, name: str) -> Path:
        """Stop it, keep a copy of its folder, and start it again."""
        self.stop()
        copy = self.folder / name
        shutil.copytree(self.store, copy)
        self.start()
        return copy

    def put_back(self, copy: Path) -> None:
        """Start it again with the folder as `copy_store` kept it: what came later is lost."""
        self.kill()
        shutil.rmtree(self.store)
        shutil.copytree(copy, self.store)
        self.start()

    def monitor(self, what: str) -> dict[str, Any]:
        """Return what its monitoring port says, such as `connz` or `jsz`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/{what}", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    async def counts(self) -> tuple[int, int, int]:
        """Return its connections, subscriptions of clients, and consumers."""
        connections = await asyncio.to_thread(self.monitor, "connz?subs=1")
        streams = await asyncio.to_thread(self.monitor, "jsz")
        subscriptions = sum(c["subscriptions"] for c in connections["connections"])
        return connections["num_connections"], subscriptions, streams["consumers"]


def cluster(folder: Path, size: int = 3) -> list[NatsServer]:
    """Return servers of one cluster, which are not started yet."""
    ports = free_ports(size)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        NatsServer(
            folder / f"node{number}",
            f'server_name: "node{number}"\n'
            f'cluster {{ name: "test", listen: "127.0.0.1:{port}", routes: [{routes}] }}',
        )
        for number, port in enumerate(ports)
    ]


def wait_for_leader(servers: Sequence[NatsServer]) -> None:
    """Wait until all servers of a cluster follow the same one: before that nothing can be asked of it."""
    deadline = time.monotonic() + 60
    while True:
        leaders = {server.monitor("jsz").get("meta_cluster", {}).get("leader") for server in servers}
        if len(leaders) == 1 and leaders != {None}:
            return
        assert time.monotonic() < deadline, f"the cluster has no leader: {leaders}"
        time.sleep(0.05)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a new certificate for 127.0.0.1, which is its own authority, and its key."""
    certificate, key = folder / "server.pem", folder / "server.key"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", "/CN=tidings test", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
