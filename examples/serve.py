"""What `make serve` runs: the server, this machine's figures published to it, and how to listen.

    python examples/serve.py [--port 8080]

Ends both with Ctrl-C or SIGTERM; ends, too, when one of them does.
"""

import argparse
import re
import signal
import subprocess
import sys
from pathlib import Path

from tidings.cli.talk import keep_showing

FEED = Path(__file__).with_name("machine_feed.py")

HOW_TO_LISTEN = """
  The page           {url}/

  Polling            curl -s '{url}/channels/machine?rewind=1'
  Long-polling       curl -s '{url}/channels/machine?wait=25'
  Server-Sent Events curl -sN -H 'Accept: text/event-stream' '{url}/channels/machine'
  WebSocket          {tidings} sub machine --transport websocket{option}

  Publish            curl -s -H 'Content-Type: application/json' -d '{{"n":1}}' '{url}/channels/notes'
                     {tidings} pub notes '{{"n":1}}'{option}

  Ctrl-C ends the server and the feed.
"""


def main() -> int:
    """Run both until one ends or a signal comes; return the server's exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()

    server = subprocess.Popen(
        [sys.executable, "-m", "tidings", "serve", "--port", str(arguments.port)],
        stderr=subprocess.PIPE,
        text=True,
    )
    processes: list[subprocess.Popen[str]] = [server]

    def end(*_: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)

    url = _wait_for_address(server)
    if url is not None:
        assert server.stderr is not None
        keep_showing(server.stderr)
        processes.append(subprocess.Popen([sys.executable, str(FEED), "--url", url], text=True))
        tidings = Path(sys.executable).with_name("tidings")
        command = tidings.relative_to(Path.cwd()) if tidings.is_relative_to(Path.cwd()) else tidings
        option = "" if url.endswith(":8080") else f" --url {url}"
        print(HOW_TO_LISTEN.format(url=url, tidings=command, option=option), flush=True)
    code = server.wait()
    end()
    for process in processes[1:]:
        process.wait()
    return code


def _wait_for_address(server: "subprocess.Popen[str]") -> str | None:
    """Return the address that the server says it listens on; None when it ended without."""
    assert server.stderr is not None
    for line in server.stderr:
        print(line, end="", file=sys.stderr, flush=True)
        if found := re.search(r"listening on (\S+)", line):
            return found[1]
    return None


if __name__ == "__main__":
    sys.exit(main())
