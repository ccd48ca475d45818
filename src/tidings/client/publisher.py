"""Publishing from plain synchronous code: messages in, receipts out.

Owns: the requests, and what their answers mean. Does not own: what is a message and how many go together
(batches.py), the connection and trying again (connection.py), reading channels (feed.py).
Invariant: all tries of one message bear one idempotency key, so it is published once however often an answer
was lost on the way.
"""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from tidings.client import batches
from tidings.client.address import read_address
from tidings.client.batches import Draft, Outgoing
from tidings.client.connection import Connection
from tidings.client.errors import BadAnswer, ClientError, Refused, refusal_in_band
from tidings.client.items import read
from tidings.client.receipt import Receipt, read_receipt
from tidings.client.token import Token

_NDJSON: Final = "application/x-ndjson"


class Publisher:
    """Publishes messages to one server. Threads may share one; they take turns on its connection.

    `token` says who is asking: a text, or a function that fetches one; it is called again when the server
    does not take the token any more. `timeout` is seconds for one request, all its tries together.
    """

    def __init__(
        self, url: str, *, token: str | Callable[[], str] | None = None, timeout: float = 10.0
    ) -> None:
        """Read the address; the connection is made by the first `publish`.

        Raises BadAddress, and ValueError for a text that is no token.
        """
        self._address = read_address(url)
        self._connection = Connection(self._address, timeout)
        self._token = Token(token)

    def publish(
        self,
        channel: str,
        data: Any,
        *,
        event: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Return the receipt of one message.

        `data` is any JSON value; `bytes` are taken as ready JSON text and kept as they are. Give an
        `idempotency_key` of your own to be able to ask again after an error (10 minutes long, on the same
        channel); without one, each call is a message of its own.

        Raises Refused (the server said no), Unreachable (no answer in time, after several tries: whether the
        message was published is then unknown), BadAnswer (that is no Tidings server), and TypeError or
        ValueError for data that has no JSON.
        """
        return self._alone(batches.check(channel, data, event, key, idempotency_key))

    def publish_many(self, messages: Iterable[Draft]) -> list[Receipt | Refused]:
        """Return, for each message in its order, its receipt or why it was refused.

            publisher.publish_many([{"channel": "news", "data": 1}, {"channel": "chat", "data": "hi"}])

        They are published in their order, up to 100 with one request. One that is refused does not hold up
        the others. What is said of a message at `publish` holds for each of them.

        Raises TypeError and ValueError, before anything is sent, for what is no message or has no JSON. Where
        the server does not answer, or takes nothing for now, this ends half-way with Unreachable, BadAnswer
        or Refused; then the error's `answered` is what was said of the first messages. Whether those behind
        them were published is unknown: given idempotency keys of your own, all can be given again.
        """
        answered: list[Receipt | Refused] = []
        try:
            for part in batches.split([batches.read(message) for message in messages]):
                answered += [part] if isinstance(part, Refused) else self._publish(part)
        except ClientError as why:
            why.answered = tuple(answered)
            raise
        return answered

    def close(self) -> None:
        """Close the connection. A later `publish` makes a new one."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _publish(self, messages: list[Outgoing]) -> Sequence[Receipt | Refused]:
        """Publish with one request; a refusal of all that will stay one is told of each."""
        try:
            return [self._alone(messages[0])] if len(messages) == 1 else self._together(messages)
        except Refused as no:
            if no.retry:
                raise
            return [no for _ in messages]

    def _alone(self, message: Outgoing) -> Receipt:
        """Publish one message to its channel's URL (spec §6.1)."""
        query, headers = batches.request(message)
        target = self._address.path((message.channel,)) + ("?" + urlencode(query) if query else "")
        status, answer = self._post(target, message.data, headers)
        if status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
            raise BadAnswer(f"{self._address.text} answered {status} where a Tidings server says 201")
        return read_receipt(answer, message)

    def _together(self, messages: list[Outgoing]) -> list[Receipt | Refused]:
        """Publish a batch, a line a message, answered by a line each (spec §6.4)."""
        body = b"".join([message.line for message in messages])
        headers = {"Content-Type": _NDJSON, "Accept": _NDJSON}
        status, answer = self._post(f"{self._address.prefix}/publish", body, headers)
        lines = answer.split(b"\n")[:-1]
        if status != HTTPStatus.OK or len(lines) != len(messages):
            raise BadAnswer(
                f"{self._address.text} answered {status} and {len(lines)} lines to {len(messages)} messages"
            )
        return [_said(line, message) for line, message in zip(lines, messages, strict=True)]

    def _post(self, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Ask as who we are; once more with a new token where the server does not take this one."""
        token = self._token.get()
        try:
            return self._connection.post(target, body, headers | _authorization(token))
        except Refused as no:
            if no.status != HTTPStatus.UNAUTHORIZED or not self._token.refused(token):
                raise
            return self._connection.post(target, body, headers | _authorization(self._token.get()))


def _said(line: bytes, message: Outgoing) -> Receipt | Refused:
    """Return what a line of a batch's answer says of its message."""
    told = read(line, dict[str, Any])
    return refusal_in_band(told) if "code" in told else read_receipt(line, message)


def _authorization(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}
