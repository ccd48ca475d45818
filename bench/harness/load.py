"""The load: the C programs as Python objects.

Owns: the command lines and the JSON of bench/c/generator.c, publisher.c and echo.c. Does not own: judging.
Invariant: what went wrong on a connection is in the answers' `errors` and `error`; it is never hidden.
"""

import json
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from harness import build
from harness.servers import Echo, Running

_ANSWER_WITHIN = 90.0  # a generator that says nothing for so long waits for a server that has stopped

_AGENT = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/149.0.0.0 Safari/537.36"
)
# What Chromium sends with a fetch: bytes that are compared between transports need a browser's heads.
BROWSER_HEADERS = (
    'sec-ch-ua: "Chromium";v="149", "Not.A/Brand";v="8"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    _AGENT,
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Referer: http://127.0.0.1/",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9",
)


@dataclass(frozen=True)
class Report:
    """What the subscribers got since the mark. Times are seconds, `*_ns` of the monotonic clock.

    `caught_*` are since the last reconnect: how many have caught up, how many got too much, and when.
    """

    connected: int
    failed: int
    messages: int
    others: int
    bytes: int
    requests: int
    answers: int
    empties: int
    errors: int
    error: str
    first_ns: int
    last_ns: int
    samples: int
    delay_p50: float
    delay_p99: float
    delay_p999: float
    delay_max: float
    cpu: float
    wall: float
    sent_bytes: int = 0
    caught_up: int = 0
    caught_over: int = 0
    caught_first: float = 0.0
    caught_p50: float = 0.0
    caught_p99: float = 0.0
    caught_last: float = 0.0


@dataclass(frozen=True)
class Published:
    """What was published. Times are seconds, `*_ns` of the monotonic clock."""

    published: int
    answered: int
    errors: int
    error: str
    blocked: int
    first_ns: int
    last_ns: int
    late_p50: float
    late_p99: float
    late_max: float
    answer_p50: float
    answer_p99: float
    cpu: float
    wall: float


@dataclass(frozen=True)
class Echoed:
    """What came back of what many WebSockets sent. Times are seconds."""

    connected: int
    trips: int
    others: int
    errors: int
    error: str
    trip_p50: float
    trip_p99: float
    trip_p999: float
    cpu: float
    wall: float


AnswerT = TypeVar("AnswerT", Report, Published, Echoed)


def _answer(kind: type[AnswerT], content: dict[str, Any]) -> AnswerT:
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in content.items() if name in known})


class Subscribers:
    """The generator, under command. Every method waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _hear(self, within: float = _ANSWER_WITHIN) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], within)[0]:
            raise RuntimeError(f"the generator waited for {within:.0f} s: the server does not answer")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the generator ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _opened(self, *, strict: bool) -> float:
        answer = self._hear()
        if answer["failed"] or (strict and answer["errors"]):
            raise RuntimeError(f"{answer['failed']} connections failed; the first: {answer['error']}")
        return float(answer["wall"])

    def connect(self, count: int) -> float:
        """Open `count` more, and return how long it took; raises RuntimeError where one of them failed."""
        self._say(f"connect {count}")
        return self._opened(strict=True)

    def cut(self) -> int:
        """Close all connections at once, each keeps its place; return how many."""
        self._say("cut")
        return int(self._hear()["cut"])

    def reconnect(self, each: int, in_flight: int) -> float:
        """Open all again, each from its place, and return how long that took.

        A connection has caught up when `each` messages came. At most `in_flight` handshakes run at once.
        """
        self._say(f"reconnect {each} {in_flight}")
        return self._opened(strict=False)

    def mark(self) -> None:
        """Set all counters to zero."""
        self._say("mark")
        self._hear()

    def wait_for(self, messages: int, seconds: float) -> Report:
        """Return the report as soon as so many messages came since the mark, or the time is over."""
        self._say(f"await {messages} {seconds}")
        return _answer(Report, self._hear(seconds + _ANSWER_WITHIN))

    def signal(self, number: int) -> None:
        """Send the generator a signal, SIGSTOP say, to be readers that stop."""
        self._process.send_signal(number)

    def report(self) -> Report:
        """Return the report as of now."""
        self._say("report")
        return _answer(Report, self._hear())


@contextmanager
def subscribers(
    here: Running,
    transport: str,
    *,
    channels: int = 1,
    samples: int = 128,
    rearm: float = 0.0,
    lazy: float = 0.0,
    sources: int = 4,
    headers: Sequence[str] = (),
) -> Iterator[Subscribers]:
    """Start a generator for one transport; it holds no connection until told to.

    `rearm` is the rest before a poll is repeated. With `lazy`, the connections that are not sampled are read
    only that often. Both are seconds. `headers` come besides the server's own.
    """
    server = here.server
    command = [
        str(build.program("generator")),
        *("--port", str(here.port)),
        *("--transport", transport),
        *("--target", server.targets[transport]),
        *("--prefix", server.prefix),
        *("--channels", str(channels)),
        *("--samples", str(samples)),
        *("--sources", str(sources)),
        *("--rearm", str(rearm)),
        *("--lazy", str(lazy)),
    ]
    if server.dialect != "plain":
        command += ["--dialect", server.dialect]
    if server.resume != "cursor":
        command += ["--resume", server.resume]
    if server.hello:
        command += ["--hello", server.hello]
    for header in (*server.headers, *headers):
        command += ["--header", header]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Subscribers(process)
    finally:
        process.kill()
        process.communicate()


def _run(command: Sequence[str], within: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]} did not end within {within:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def publish(
    here: Running,
    *,
    rate: float,
    seconds: float,
    size: int = 100,
    channels: int = 1,
    connections: int = 1,
    outstanding: int = 16,
    chance: bool = False,
    batch: int = 0,
) -> Published:
    """Publish for `seconds` and return what came of it.

    `rate` messages a second, open loop; 0 means as fast as they are accepted, with at most `outstanding`
    unanswered on each of the `connections`. `size` is the bytes of a message's data. With `chance`, messages
    come at random (Poisson), each on a random channel. With `batch`, one request carries so many messages.
    """
    server = here.server
    command = [
        str(build.program("publisher")),
        *("--port", str(here.port)),
        *("--target", server.publish),
        *("--type", server.content_type),
        *("--size", str(size + server.extra_size)),
        *("--rate", str(rate)),
        *("--seconds", str(seconds)),
        *("--channels", str(channels)),
        *("--connections", str(connections)),
        *("--outstanding", str(outstanding)),
    ]
    if chance:
        command += ["--chance", "1"]
    if batch:
        command += ["--batch", str(batch)]
    for header in server.headers:
        command += ["--header", header]
    return _answer(Published, _run(command, seconds + _ANSWER_WITHIN))


def echo(
    here: Running,
    how: Echo,
    *,
    seconds: float,
    connections: int,
    outstanding: int = 1,
    size: int = 40,
) -> Echoed:
    """Let many WebSockets send, and wait for what comes back, for `seconds`; return the round trips.

    Each has `outstanding` messages on the way. `size` is the bytes of a message's data.
    """
    command = [
        str(build.program("echo")),
        *("--port", str(here.port)),
        *("--target", how.target),
        *("--send", how.send),
        *("--expect", how.expect),
        *("--seconds", str(seconds)),
        *("--connections", str(connections)),
        *("--outstanding", str(outstanding)),
        *("--size", str(size + here.server.extra_size)),
    ]
    for hello in how.hello:
        command += ["--hello", hello]
    for header in here.server.headers:
        command += ["--header", header]
    return _answer(Echoed, _run(command, seconds + _ANSWER_WITHIN))
