"""The real server with settings that the command line has no flags for, and, where asked, a witness of
its closes.

    serve.py '{"port": 8080, "history_count": 200}' [closes.json]

The witness notes, whenever a connection is finished or cut by the server, who it was and where the log
stood: all up to there had been acknowledged. test_drain.py holds that against what the clients were sent.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from tidings.server import app as server
from tidings.server.config import Settings
from tidings.server.connection import Connection


def _witness(path: Path) -> None:
    """Write, at the end of the run, when each connection was closed by the server, and at which head."""
    closes: dict[int, dict[str, float]] = {}
    apps: list[server.App] = []

    def note(connection: Connection) -> None:
        peer = connection._transport.get_extra_info("peername")
        if peer and apps[0].draining:
            closes.setdefault(peer[1], {"head": apps[0]._log.head, "time": time.time()})

    finish, abort, begin, stop = (
        Connection.finish,
        Connection.abort,
        server.App.__init__,
        server.App.serve_until,
    )

    def noted_finish(self: Connection) -> None:
        note(self)
        finish(self)

    def noted_abort(self: Connection) -> None:
        note(self)
        abort(self)

    def noted_begin(self: server.App, *args: Any, **kwargs: Any) -> None:
        apps.append(self)
        begin(self, *args, **kwargs)

    async def noted_stop(self: server.App, *args: Any) -> None:
        await stop(self, *args)
        with open(path, "w") as file:  # noqa: ASYNC230, PTH123  nothing else is left to do
            json.dump({"closes": closes, "head": self._log.head}, file)

    Connection.finish = noted_finish  # type: ignore[method-assign]
    Connection.abort = noted_abort  # type: ignore[method-assign]
    server.App.__init__ = noted_begin  # type: ignore[method-assign]
    server.App.serve_until = noted_stop  # type: ignore[assignment, method-assign]


def main() -> int:
    """Serve until told to stop."""
    if len(sys.argv) > 2:
        _witness(Path(sys.argv[2]))
    return server.run(msgspec.convert(json.loads(sys.argv[1]), Settings))


if __name__ == "__main__":
    sys.exit(main())
