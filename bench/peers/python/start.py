"""Start one of the applications beside this file, with the settings that suit it best.

Owns: the settings. Does not own: the applications, which each module says it has.

All of them: one worker, no access log, no compression (uvicorn would agree to it by default), uvloop, and
TCP_NODELAY, which uvloop and granian set by themselves. uvicorn: httptools; `websockets-sansio`, which took
17.6 µs for a delivery where `wsproto` took 24.1 and `websockets` 23.7; no proxy headers, which are a wrapper;
heartbeats as Tidings has them. granian: its multi-threaded runtime, which delivers sooner at the same cost,
and room for all connections at once.

usage: python start.py MODULE:APPLICATION --port PORT --epoch EPOCH [--server uvicorn|granian]
"""

import argparse
import os
from pathlib import Path

_HERE = Path(__file__).parent


def serve_on_uvicorn(application: str, port: int) -> None:
    """Serve until killed."""
    import uvicorn

    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=25,
        ws_ping_timeout=25,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        backlog=4096,
        timeout_keep_alive=75,
        app_dir=str(_HERE),
    )


def serve_on_granian(application: str, port: int) -> None:
    """Serve until killed."""
    from granian import Granian
    from granian.constants import Interfaces, Loops, RuntimeModes
    from granian.log import LogLevels

    Granian(
        application,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        runtime_mode=RuntimeModes.mt,
        log_level=LogLevels.warning,
        log_access=False,
        backlog=4096,
        backpressure=20_000,
        working_dir=_HERE,
    ).serve()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="Start a Python server to be measured.")
    parser.add_argument("application")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--epoch", required=True, help="what every id begins with")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default="uvicorn")
    options = parser.parse_args()
    os.environ["BENCH_EPOCH"] = options.epoch
    serve = serve_on_granian if options.server == "granian" else serve_on_uvicorn
    serve(options.application, options.port)


if __name__ == "__main__":
    main()
