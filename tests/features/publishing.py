"""Publishing many messages in few requests: batches (spec §6.4)."""

import json
from collections.abc import Sequence
from typing import Any

from kit import ServerProcess
from raw import Wire

NDJSON = {"Content-Type": "application/x-ndjson"}


def lines_of(messages: Sequence[dict[str, Any]]) -> bytes:
    """Return a batch's body."""
    return b"".join([json.dumps(message).encode() + b"\n" for message in messages])


class Batches:
    """Publishes batches over one connection."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._wire: Wire | None = None

    async def publish(self, messages: Sequence[dict[str, Any]], *, at_once: int = 100) -> list[str]:
        """Publish `messages`, `at_once` in one request; return their ids."""
        if self._wire is None:
            self._wire = await Wire.connect(self._server)
        ids = []
        for start in range(0, len(messages), at_once):
            body = lines_of(messages[start : start + at_once])
            answer = await self._wire.ask("POST", "/publish", NDJSON, body)
            assert answer.status == 200, answer
            ids += [json.loads(line)["id"] for line in answer.body.splitlines()]
        assert len(ids) == len(messages)
        return ids

    def abort(self) -> None:
        """Drop the connection."""
        if self._wire is not None:
            self._wire.abort()
            self._wire = None
