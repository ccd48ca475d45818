"""What a transport needs to know to ask: where the server is, which channels, and where to go on.

Owns: the request's URL, query and bounds, and how a failed one is told apart. Does not own: the cursor
(feed.py moves it), or what is done about a failure.
Invariant: nothing is read without a bound on its size and on its time.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp

from tidings.client.address import Address
from tidings.client.errors import BadAnswer, Cut, Refused, in_words, refusal

CONNECT_TIMEOUT: Final = 10.0
# A server says something on every stream at least every 15 s, and pings every 25 s.
SILENCE: Final = 40.0
# An answer is cut at 1 MiB by the server, and a message is 64 KiB; both are its settings.
ANSWER_BYTES: Final = 16 * 1024 * 1024
PROBLEM_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Ask:
    """One subscription as its feed holds it; transports read it anew for every request."""

    address: Address
    channels: tuple[str, ...]
    # Where to go on: a cursor, or `earliest`; None: from now on, or `rewind`.
    after: str | None = None
    # How far back to begin where there is no cursor yet: "20" messages or "30s".
    rewind: str | None = None
    # Most messages in one answer; None: as the server has it.
    limit: int | None = None
    # Seconds between two polls; None: as the server advises.
    interval: float | None = None
    # What the server advised last, in seconds.
    advised: float = 1.0

    @property
    def url(self) -> str:
        """The channels' URL."""
        return self.address.url(self.channels)

    def query(self, transport: str, **more: str) -> dict[str, str]:
        """Return the parameters that say how to wait and where to go on."""
        query = {"transport": transport, **more}
        if self.after is not None:
            query["after"] = self.after
        elif self.rewind is not None:
            query["rewind"] = self.rewind
        if self.limit is not None:
            query["limit"] = str(self.limit)
        return query


def open_session(address: Address) -> aiohttp.ClientSession:
    """Return a session for one feed; it raises Refused for every status of 400 or more."""
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(address.uds) if address.uds is not None else aiohttp.TCPConnector(),
        # Answers are not compressed by the server; what claims to be is not unpacked, so it cannot be a bomb.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        raise_for_status=_raise_refusal,
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=SILENCE),
    )


async def read_whole(answer: aiohttp.ClientResponse, most: int = ANSWER_BYTES) -> bytes:
    """Return the body, or raise BadAnswer when it is longer than `most` bytes."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > most:
            raise BadAnswer(f"{answer.url.path} answered with more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


async def _raise_refusal(answer: aiohttp.ClientResponse) -> None:
    if answer.status < HTTPStatus.BAD_REQUEST:
        return
    # The connection goes: a refused upgrade leaves none that could be used again.
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            body = await read_whole(answer, PROBLEM_BYTES)
    except (BadAnswer, TimeoutError, aiohttp.ClientError):
        # The status says the most of it.
        body = b""
    finally:
        answer.close()
    raise refusal(answer.status, answer.headers, body)


def as_cut(why: BaseException) -> Cut | None:
    """Return the Cut that a failure of connecting or reading stands for; None: it is not one of those.

    A refusal that says "try again" is a Cut with the server's own wait; any other stays what it is.
    """
    match why:
        case Cut():
            return why
        case Refused(retry=True):
            return Cut(why.detail, wait=why.retry_after, transport_failed=False)
        case TimeoutError():
            return Cut(in_words(why))
        case aiohttp.ClientConnectorError():
            # A certificate that is not trusted is one of these, but keeps its error elsewhere.
            failure = getattr(why, "certificate_error", getattr(why, "os_error", why))
            return Cut(in_words(failure), unreachable=True)
        case aiohttp.WSServerHandshakeError():
            return Cut(f"the WebSocket handshake was answered with {why.status} ({why.message})")
        case aiohttp.ClientError() | OSError():
            return Cut(in_words(why))
        case _:
            return None
