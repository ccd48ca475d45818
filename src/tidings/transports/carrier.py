"""The seam between a transport and the shell that carries it: a connection, and what occupies it.

Owns: the two interfaces, and what of them an awaited answer has no use for. Does not own: sockets (server/),
waiting (the transports).
"""

from typing import Protocol

from tidings.wire.http import Response


class Exchange(Protocol):
    """What occupies a connection from a request until its answer is complete. A transport's side."""

    def received(self, data: bytes) -> None:
        """Take bytes that the client sent. Only called after `Carrier.open(…, takes_input=True)`."""

    def expired(self) -> None:
        """The time given to `Carrier.timer` is over."""

    def pushed_back(self) -> None:
        """The connection takes no more bytes for now. Write nothing until `took_again`."""

    def took_again(self) -> None:
        """The connection takes bytes again."""

    def lost(self) -> None:
        """The connection is gone. Nothing of the exchange may remain."""

    def advise(self, advice: dict[str, int]) -> None:
        """Give the client a hint (spec §5.5). Only called on an open stream that takes bytes."""

    def drain(self, reconnect_within_ms: int, code: str) -> bool:
        """The server stops, or cannot serve it: end, and tell the client to come back within this time.

        `code` says why: `shutting_down`, `moved` or `log_unavailable`.
        Returns False, and does nothing, while something is still to be written or awaited.
        """


class Awaited:
    """The side of an Exchange that streams, for one whose answer is awaited and then given whole."""

    __slots__ = ()

    def received(self, data: bytes) -> None:
        """Never called: the next request waits in the connection."""

    def pushed_back(self) -> None:
        """Nothing is being written."""

    def took_again(self) -> None:
        """Nothing is being written."""

    def advise(self, advice: dict[str, int]) -> None:
        """Never called: this is no stream."""


class Carrier(Protocol):
    """A connection, as a transport sees it. The shell's side."""

    def hold(self, exchange: Exchange, seconds: float) -> None:
        """Keep the request open until `reply`, and call `Exchange.expired` as `timer` does."""

    def reply(self, response: Response) -> None:
        """Answer the request that is held. The same `response` may be given to many."""

    def open(self, exchange: Exchange, head: Response, first: bytes, *, takes_input: bool) -> None:
        """Begin a stream: write `head` without a length and what is said first, in one piece.

        From now on the connection is the exchange's.
        """

    def write(self, data: bytes) -> None:
        """Write to an open stream. Raises nothing when the connection is closing."""

    @property
    def writer(self) -> "Writer":
        """The bare write of the connection, for the hub to call: nothing of ours in between."""

    @property
    def descriptor(self) -> int | None:
        """Where the hub may send while the connection takes bytes; None where bytes go out changed (TLS)."""

    def refused(self, code: str) -> None:
        """Count, for the operator, that this client was refused with `code` (core/errors.py)."""

    def timer(self, seconds: float) -> None:
        """Call `Exchange.expired` once, not before `seconds` are over. A new call replaces the last."""

    def finish(self) -> None:
        """Close when everything is written and the client has closed too, or after a short grace."""

    def abort(self) -> None:
        """Close at once. What is not yet sent is dropped."""

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""

    def resume_reading(self) -> None:
        """Take bytes from the client again."""


class Writer(Protocol):
    """A callable that writes bytes."""

    def __call__(self, data: bytes, /) -> object:
        """Write `data`."""
