"""Lines of standard input as messages: read as they come, sent as fast as the server takes them.

Owns: the reading, what becomes of a line, and how many go together. Does not own: their requests
(client/publisher.py).
Invariant: a line goes out as soon as those before it are answered, with all that came meanwhile; so one that
is typed goes alone and at once. Ids are printed in the order of the lines, and nothing is sent behind a line
that cannot be sent.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from tidings.cli.talk import fail, print_line
from tidings.core.errors import Refusal
from tidings.core.limits import BATCH_LINES, BODY_BYTES
from tidings.wire.envelope import check_json

if TYPE_CHECKING:
    from tidings.client import Publisher
    from tidings.client.batches import Draft

# The server takes far less; this keeps a file without line ends out of memory.
LINE_BYTES: Final = 16 * 1024 * 1024
READ_BYTES: Final = 64 * 1024  # what a pipe holds


class AsJson:
    """What a text on the command line or a line of standard input becomes."""

    def __init__(self, *, text: bool, json: bool) -> None:
        self._text = text
        self._json = json

    def __call__(self, given: str) -> bytes:
        """Return JSON text; raises ValueError where JSON is demanded and this is none."""
        if not self._text:
            try:
                json.loads(given, parse_constant=_no_such_constant)
            except (ValueError, RecursionError) as why:
                if self._json:
                    raise ValueError(str(why)) from None
            else:
                return given.encode()
        # A byte of the command line that is no UTF-8 has become half a character, which no JSON may hold.
        return json.dumps(given.encode(errors="surrogateescape").decode(errors="replace")).encode()


def _no_such_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def publish_lines(
    publisher: "Publisher", channel: str, as_json: AsJson, *, event: str | None, key: str | None
) -> None:
    """Publish every line of standard input, and print the ids; the first that cannot be sent ends it."""
    sender = _Sender(publisher, channel, as_json, event, key)
    for lines in arriving(sys.stdin.fileno()):
        for line in lines:
            sender.take(line)
        sender.send()


def arriving(descriptor: int) -> Iterator[list[bytes]]:
    """Yield the lines that are there, without waiting for more, until the end or a line over LINE_BYTES.

    What comes between two calls waits in the pipe, and is there together at the next.
    """
    line = bytearray()
    while piece := os.read(descriptor, READ_BYTES):
        end, *more = piece.split(b"\n")
        line += end
        if more:
            yield [bytes(line), *more[:-1]]
            line = bytearray(more[-1])
        elif len(line) > LINE_BYTES:
            break
    if line:
        yield [bytes(line)]


class _Sender:
    """What has been sent, and the lines that wait to be."""

    def __init__(
        self, publisher: "Publisher", channel: str, as_json: AsJson, event: str | None, key: str | None
    ) -> None:
        self._publisher = publisher
        self._channel = channel
        self._as_json = as_json
        self._event = event
        self._key = key
        self._sent = 0
        self._waiting: list[Draft] = []

    def take(self, line: bytes) -> None:
        """Put a line to those that go with it; publish them where they are as many as may go together."""
        if len(line) > LINE_BYTES:
            self._end(f"is longer than {LINE_BYTES} bytes")
        try:
            data = self._as_json(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            self._end("is not UTF-8")
        except ValueError as why:
            self._end(f"is not JSON: {why}")
        alone = not _is_sure(data)
        if alone:
            self.send()
        self._waiting.append({"channel": self._channel, "data": data, "event": self._event, "key": self._key})
        if alone or len(self._waiting) == BATCH_LINES:
            self.send()

    def send(self) -> None:
        """Publish the lines that wait, and print their ids. Raises what ended it."""
        from tidings.client import ClientError, Receipt, Refused

        lines, self._waiting = self._waiting, []
        answers: Sequence[Receipt | Refused]
        failure: ClientError | None = None
        try:
            answers = self._publisher.publish_many(lines)
        except ClientError as why:
            answers, failure = why.answered, why
        failed = self._sent + len(answers) + 1
        for number, answer in enumerate(answers, self._sent + 1):
            if isinstance(answer, Receipt):
                print_line(answer.id.encode())
                self._sent += 1
            elif failure is None:
                failed, failure = number, answer
        if failure is not None:
            if self._sent:
                typer.echo(f"line {failed} failed; {self._sent} others sent", err=True)
            raise failure

    def _end(self, reason: str) -> NoReturn:
        """Send what waits, and say why the line behind it cannot be sent."""
        self.send()
        fail(f"line {self._sent + 1} {reason}; {self._sent} sent before it")


def _is_sure(data: bytes) -> bool:
    """Say whether the server takes this. What it refuses must go alone, so that nothing behind it is sent."""
    try:
        check_json(data)
    except Refusal:
        return False
    return len(data) <= BODY_BYTES
