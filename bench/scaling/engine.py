"""What a message costs Redis itself: the three constants of costs.py that are its own, measured.

Owns: a Redis of its own, appending to it, following it, its CPU time. Does not own: Tidings' way of doing so,
which is close to this: one script for each message, and one XREAD that waits for each follower.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
FOLLOWERS = (0, 4, 8, 16)
RATE = 600  # messages a second: each is answered to every follower by itself
SECONDS = 4.0
KEPT = 20_000
BODY = b"x" * 250
APPEND = """
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('GET', KEYS[2]) end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 20000, '*', 'd', ARGV[1])
redis.call('SET', KEYS[2], id, 'EX', 600)
return id
"""


class Engine:
    """One Redis: its port, and its CPU time."""

    def __init__(self, pid: int, port: int) -> None:
        self.port = port
        self._stat = Path(f"/proc/{pid}/stat")

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def client(self) -> Any:
        """Return a connection, which waits until Redis listens."""
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import ConstantBackoff

        # Its own time limit would break an XREAD that waits.
        return Redis(port=self.port, socket_timeout=None, retry=Retry(ConstantBackoff(0.05), 100))


@contextmanager
def running() -> Iterator[Engine]:
    """Start a Redis that keeps nothing on disk."""
    if PROGRAM is None:
        raise RuntimeError("there is no redis-server on PATH")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = [PROGRAM, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                yield Engine(process.pid, port)
            finally:
                process.terminate()


async def alone(followers: int) -> float:
    """Return the CPU of a message that is appended, and answered by itself to so many followers."""
    with running() as engine:
        clients = [engine.client() for _ in range(followers + 1)]
        script = clients[0].register_script(APPEND)
        await script(keys=["log", "first"], args=[BODY])
        following = [asyncio.create_task(_follow(client)) for client in clients[1:]]
        await asyncio.sleep(0.3)
        began, used, count = time.monotonic(), engine.cpu(), 0
        while (now := time.monotonic() - began) < SECONDS:
            if count >= now * RATE:
                await asyncio.sleep(0.001)
                continue
            await script(keys=["log", f"key{count}"], args=[BODY])
            count += 1
        spent = (engine.cpu() - used) / count
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        for client in clients:
            await client.aclose()
    return spent


async def _follow(client: Any) -> None:
    last = "$"
    while True:
        for _, entries in await client.xread({"log": last}, count=500, block=1000):
            last = entries[-1][0]


async def joined() -> float:
    """Return the CPU of a message in an answer that has 500."""
    with running() as engine:
        client = engine.client()
        for _ in range(KEPT // 500):
            async with client.pipeline(transaction=False) as pipeline:
                for _ in range(500):
                    pipeline.xadd("log", {"d": BODY})
                await pipeline.execute()
        began, used, count, last = time.monotonic(), engine.cpu(), 0, "0"
        while time.monotonic() - began < SECONDS:
            answer = await client.xread({"log": last}, count=500)
            if not answer:
                last = "0"
                continue
            ((_, entries),) = answer
            count, last = count + len(entries), entries[-1][0]
        spent = (engine.cpu() - used) / count
        await client.aclose()
    return spent


async def measured() -> tuple[float, float, float]:
    """Return what a message, an answer to a follower, and a message in an answer of many cost."""
    found = [await alone(followers) for followers in FOLLOWERS]
    return (found[0], (found[-1] - found[0]) / FOLLOWERS[-1], await joined())
