"""What the tests of the log in NATS do to it and to its server."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import nats

from engines.nats import NatsServer
from logs.following import Watch
from tidings.core.errors import Refusal
from tidings.core.history import Retention
from tidings.core.message import Draft, Receipt
from tidings.logs import Log
from tidings.logs.nats import NatsLog


@contextlib.asynccontextmanager
async def opened(url: str, retention: Retention | None = None, **more: Any) -> AsyncIterator[Log]:
    log = NatsLog(url, retention, **more)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def watched(log: Log) -> AsyncIterator[Watch]:
    watch = Watch(log)
    try:
        await watch.until("a life", lambda w: bool(w.lives))
        yield watch
    finally:
        await watch.close()


@contextlib.asynccontextmanager
async def raw(server: NatsServer) -> AsyncIterator[Any]:
    """What an operator, or somebody else, could do: asks JetStream."""
    client = await nats.connect(server.url)

    async def ask(verb: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = await client.request(f"$JS.API.{verb}", json.dumps(question or {}).encode(), timeout=30)
        found: dict[str, Any] = json.loads(answer.data)
        assert "error" not in found, found
        return found

    ask.publish = partial(client.request, timeout=30)  # type: ignore[attr-defined]
    try:
        yield ask
    finally:
        await client.close()


async def put(log: Log, data: int, channel: str = "a", key: str | None = None) -> Receipt:
    return (await log.append([Draft(channel, b"%d" % data, idempotency_key=key)]))[0]


async def put_at_last(log: Log, data: int, channel: str = "a") -> Receipt:
    """Publish as a patient publisher does: until it is acknowledged, under one key."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await put(log, data, channel, f"key{data}")
        except Refusal as refusal:
            code = refusal.kind.code
        assert code == "log_unavailable"
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def told_up_to(watch: Watch) -> int:
    """Return the position of the last message that was told, 0 before the first."""
    return watch.messages[-1].position if watch.messages else 0


def numbers(*found: int) -> list[bytes]:
    return [b"%d" % n for n in found]
