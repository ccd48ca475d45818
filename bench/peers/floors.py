"""The least that an empty poll costs: a C loop that looks at nothing, and uvicorn with nothing behind it.

Owns: the answer that both give, which is Tidings' own to an empty poll, byte for byte; uvicorn writes its
own Date. Does not own: the programs (c/responder.c, peers/python/hello.py).
"""

import http.client
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from harness import build, servers
from harness.servers import POLLING, Server

from peers import python

_PATH = "/channels/bench{n}"


@dataclass(frozen=True)
class Answer:
    """A head's lines after the first, and a body."""

    headers: Sequence[str]
    body: str

    @property
    def text(self) -> str:
        """The whole answer."""
        return "\r\n".join(("HTTP/1.1 200 OK", *self.headers, "", self.body))


@cache
def _empty_poll() -> Answer:
    """Return what Tidings says to a client that has everything; asked of it once."""
    with servers.running(servers.TIDINGS) as here:
        tidings = http.client.HTTPConnection("127.0.0.1", here.port, timeout=5)
        tidings.request("GET", _PATH.format(n=0))
        said = tidings.getresponse()
        answer = Answer([f"{name}: {value}" for name, value in said.getheaders()], said.read().decode())
        tidings.close()
    return answer


def _responder(port: int) -> Sequence[str]:
    return (str(build.program("responder")), "--port", str(port), "--answer", _empty_poll().text)


def _hello(port: int) -> Sequence[str]:
    answer = _empty_poll()
    headers = "\n".join(line for line in answer.headers if not line.startswith("Date:"))
    command = python.command("hello:app", port)
    return ("env", f"BENCH_HEADERS={headers}", f"BENCH_BODY={answer.body}", *command)


RESPONDER = Server(
    "C responder",
    _responder,
    {POLLING: _PATH},
    note="says the same to everything",
)
HELLO = Server(
    "uvicorn, hello world",
    _hello,
    {POLLING: _PATH},
    note="says the same to everything",
    prepare=python.prepare,
    version=lambda: python.version("uvicorn", "httptools", "uvloop"),
)

SERVERS: tuple[Server, ...] = (RESPONDER, HELLO)
