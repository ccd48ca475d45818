"""The load: the generator's subscribers and the publisher, as Python objects.

Owns: the command lines and the JSON of bench/c/generator.c and bench/c/publisher.c. Does not own: judging.
Invariant: what went wrong on a connection is in the answers' `errors` and `error`; it is never hidden.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness import build
from harness.servers import Running


@dataclass(frozen=True)
class Report:
    """What the subscribers got since the mark. Times are seconds, `*_ns` of the monotonic clock."""

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


class Subscribers:
    """The generator, under command. Every method waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the generator ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def connect(self, count: int) -> float:
        """Open `count` more, and return how long it took; raises RuntimeError where one of them failed."""
        self._say(f"connect {count}")
        answer = self._hear()
        if answer["failed"] or answer["errors"]:
            raise RuntimeError(f"{answer['failed']} connections failed; the first: {answer['error']}")
        return float(answer["wall"])

    def mark(self) -> None:
        """Set all counters to zero."""
        self._say("mark")
        self._hear()

    def wait_for(self, messages: int, seconds: float) -> Report:
        """Return the report as soon as so many messages came since the mark, or the time is over."""
        self._say(f"await {messages} {seconds}")
        return Report(**self._hear())

    def signal(self, number: int) -> None:
        """Send the generator a signal, SIGSTOP say, to be readers that stop."""
        self._process.send_signal(number)

    def report(self) -> Report:
        """Return the report as of now."""
        self._say("report")
        return Report(**self._hear())


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
) -> Iterator[Subscribers]:
    """Start a generator for one transport; it holds no connection until told to.

    `rearm` is the rest before a poll is repeated. With `lazy`, the connections that are not sampled are read
    only that often. Both are seconds.
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
    if server.hello:
        command += ["--hello", server.hello]
    for header in server.headers:
        command += ["--header", header]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Subscribers(process)
    finally:
        process.kill()
        process.communicate()


def publish(
    here: Running,
    *,
    rate: float,
    seconds: float,
    size: int = 100,
    channels: int = 1,
    connections: int = 1,
    outstanding: int = 16,
) -> Published:
    """Publish for `seconds` and return what came of it.

    `rate` messages a second, open loop; 0 means as fast as they are accepted, with at most `outstanding`
    unanswered on each of the `connections`. `size` is the bytes of a message's data.
    """
    server = here.server
    command = [
        str(build.program("publisher")),
        *("--port", str(here.port)),
        *("--target", server.publish),
        *("--type", server.content_type),
        *("--size", str(size)),
        *("--rate", str(rate)),
        *("--seconds", str(seconds)),
        *("--channels", str(channels)),
        *("--connections", str(connections)),
        *("--outstanding", str(outstanding)),
    ]
    for header in server.headers:
        command += ["--header", header]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the publisher failed: {done.stderr.strip()}")
    return Published(**json.loads(done.stdout))
