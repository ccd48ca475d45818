"""What a transport needs to know to ask: where the server is, which channels, and where to go on.

Owns: the request's URL, query, headers and bounds, and how a failed one is told apart. Does not own: the
cursor (place.py), or what is done about a failure (link.py, supervisor.py).
Invariant: nothing is read without a bound on its size and on its time.
"""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import aiohttp

from tidings.client.address import Address
from tidings.client.async_token import AsyncToken
from tidings.client.errors import BadAnswer, Cut, Refused, in_words, refusal
from tidings.client.place import Place

CONNECT_TIMEOUT: Final = 10.0
# A server says something on every stream at least every 15 s, and pings every 25 s.
SILENCE: Final = 40.0
# From a stream's head to its first event, which a server sends together: what is later was kept back.
BUFFERED: Final = 3.0
# The longest hold of a long-poll: under the usual 30 s at which proxies cut an answer that does not come.
HOLD: Final = 25.0
HOLD_LEAST: Final = 5.0
# An answer is cut at 1 MiB by the server, and a message is 64 KiB; both are its settings.
ANSWER_BYTES: Final = 16 * 1024 * 1024
PROBLEM_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Ask:
    """One subscription; transports read it anew for every request."""

    address: Address
    channels: tuple[str, ...]
    place: Place
    token: AsyncToken
    # How far back to begin where there is no cursor yet: "20" messages or "30s".
    rewind: str | None = None
    # Most messages in one answer; None: as the server has it.
    limit: int | None = None
    # Seconds between two polls; None: as the server advises.
    interval: float | None = None
    # What the server advised last, in seconds.
    advised: float = 1.0
    # How long a long-poll may hang; shorter where something on the way cuts it.
    hold: float = HOLD
    # Seconds at which the last long-poll was cut.
    cut_at: float = 0.0
    # The token of the last request.
    bearer: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The channels' URL."""
        return self.address.url(self.channels)

    def query(self, transport: str, **more: str) -> dict[str, str]:
        """Return the parameters that say how to wait and where to go on."""
        query = {"transport": transport, **more}
        if self.place.after is not None:
            query["after"] = self.place.after
        elif self.rewind is not None:
            query["rewind"] = self.rewind
        if self.limit is not None:
            query["limit"] = str(self.limit)
        return query

    async def headers(self, **more: str) -> dict[str, str]:
        """Return the headers that say who is asking. Raises what Token.get raises."""
        self.bearer = await self.token.get()
        return more if self.bearer is None else {"Authorization": f"Bearer {self.bearer}", **more}


def open_session(address: Address) -> aiohttp.ClientSession:
    """Return a session for one client; it raises Refused for every status of 400 or more."""
    # Without a limit of connections: each subscription holds one, and the next would wait for ever.
    connector = (
        aiohttp.UnixConnector(address.uds, limit=0)
        if address.uds is not None
        else aiohttp.TCPConnector(limit=0)
    )
    return aiohttp.ClientSession(
        connector=connector,
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
            # A gateway's word may be about this transport only; the server's own is about all of them.
            by_gateway = why.code.startswith("http-")
            return Cut(why.detail, wait=why.retry_after, transport_failed=by_gateway)
        case aiohttp.ConnectionTimeoutError():
            return Cut("no connection in time", unreachable=True)
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
