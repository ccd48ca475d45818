"""The error tree, and the one table of refusals.

    TidingsError
    ├── SettingsError     the operator's turn: the server does not start
    └── Refusal           the peer's turn: one row of CODES, with a sentence on what to do

Owns: which codes there are and what each means on HTTP (status), on a WebSocket (close code, where
the refusal ends the connection) and to a client (whether to try again). Does not own: their bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of refusal.

    `close` is the WebSocket close code where it ends the connection: 4000-4499 come back,
    4500-4999 do not (spec §5.4). `retry` says whether the same request may succeed later.
    """

    code: str
    status: int
    close: int
    retry: bool
    title: str


def _table(*rows: Code) -> Mapping[str, Code]:
    return MappingProxyType({row.code: row for row in rows})


CODES: Final = _table(
    Code("bad_request", 400, 4500, retry=False, title="The request is malformed"),
    Code("bad_channel", 400, 4500, retry=False, title="That is not a channel name"),
    Code("too_many_channels", 400, 4500, retry=False, title="Too many channels in one request"),
    Code("bad_cursor", 400, 4500, retry=False, title="That is not a cursor"),
    Code("bad_parameter", 400, 4500, retry=False, title="A parameter has no such value"),
    Code("bad_json", 400, 4500, retry=False, title="The data is not JSON"),
    Code("bad_event", 400, 4500, retry=False, title="That is not an event name"),
    Code("bad_key", 400, 4500, retry=False, title="That is not a key"),
    Code("bad_command", 400, 4500, retry=False, title="The command is malformed"),
    Code("unknown_command", 400, 4500, retry=False, title="There is no such command"),
    Code("origin_refused", 403, 4507, retry=False, title="Pages of this origin may not connect"),
    Code("not_found", 404, 4500, retry=False, title="There is nothing here"),
    Code("method_not_allowed", 405, 4500, retry=False, title="The method is not allowed here"),
    Code("request_timeout", 408, 4000, retry=True, title="The request did not arrive in time"),
    Code("body_too_large", 413, 1009, retry=False, title="The body is too large"),
    Code("batch_too_large", 413, 4500, retry=False, title="The batch is too large"),
    Code("uri_too_long", 414, 4500, retry=False, title="The request URI is too long"),
    Code("unsupported_media_type", 415, 4500, retry=False, title="The body is of an unsupported type"),
    Code("unsupported_encoding", 415, 4500, retry=False, title="Compressed bodies are not taken"),
    Code("expectation_failed", 417, 4500, retry=False, title="The expectation cannot be met"),
    Code("upgrade_required", 426, 4500, retry=False, title="This needs a WebSocket handshake"),
    Code("head_too_large", 431, 4500, retry=False, title="The request head is too large"),
    Code("internal", 500, 1011, retry=True, title="The server failed"),
    Code("not_implemented", 501, 4500, retry=False, title="This is not supported"),
    Code("log_unavailable", 503, 1013, retry=True, title="The log cannot be reached"),
    Code("too_slow", 503, 4000, retry=True, title="This reader is too slow"),
    Code("moved", 503, 4005, retry=True, title="This has moved, perhaps to another server"),
    Code("too_many_connections", 503, 1013, retry=True, title="The server has all the connections it takes"),
    Code("shutting_down", 503, 4005, retry=True, title="The server is shutting down"),
    Code("version_unsupported", 505, 4500, retry=False, title="This version of HTTP is not spoken here"),
)


class TidingsError(Exception):
    """Anything that Tidings raises on purpose."""


class SettingsError(TidingsError):
    """The settings do not fit together; the text says which and what to do."""


class Refusal(TidingsError):
    """A request that is answered with an error: one row of CODES and a sentence for its sender.

    `headers` go with an HTTP answer (`Allow`, `Retry-After`, …).
    """

    def __init__(self, code: str, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.kind = CODES[code]
        self.detail = detail
        self.headers = headers
