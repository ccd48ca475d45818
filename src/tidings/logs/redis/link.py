"""One connection to Redis: commands go out at once, answers come back in order.

Owns: the socket, the handshake, which answer belongs to whom. Does not own: when to connect again.
Invariant: an answer goes to the command it is for, or to nobody. Whoever stops waiting leaves its answer
to be read and dropped; after anything that is not understood the connection is closed, never used again.

The bytes are hiredis's, both ways. Its parser sits directly in a Protocol: nothing here retries, times
out or shares connections by itself, so what was sent twice was sent twice by us.
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.message import Durability
from tidings.logs.redis.url import Place

Receive = Callable[[Any], None]
"""Takes an answer: bytes, an int, a list, None, a Failed, or the LinkLost that came instead."""

_NOTHING: Final = object()
_MOVED: Final = re.compile(r"MOVED [0-9]+ \[?([^\s\]]+)\]?:([0-9]{1,5})").fullmatch
_REFUSED: Final = frozenset({"WRONGPASS", "NOAUTH", "NOPERM", "DENIED"})


class Failed(Exception):
    """Redis answered with an error. `code` is its first word. The rest may quote secrets of ours."""

    def __init__(self, text: str) -> None:
        word = text.partition(" ")[0]
        self.code = word if word.isascii() and word.isupper() and len(word) <= 32 else "ERR"
        # A cluster says which of its nodes has the keys: "MOVED 3999 127.0.0.1:6381".
        self.moved: tuple[str, int] | None = None
        if self.code == "MOVED" and (found := _MOVED(text)):
            self.moved = found[1], int(found[2])
        super().__init__(self.code)


class LinkLost(ConnectionError):
    """The connection is gone; whether a command that was sent has run is unknown."""


class Link(asyncio.Protocol):
    """One connection. `lost` is done when it is gone; `heard` is when Redis last spoke, in loop time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=hiredis.ProtocolError, replyError=Failed, notEnoughData=_NOTHING
        )
        self._waiting: deque[Receive] = deque()
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.heard = self._loop.time()
        # What the handshake found out about the server.
        self.run = ""
        self.trusted = False
        self.evicts = False
        self.durability = Durability.MEMORY

    def send(self, receive: Receive, *command: str | bytes | int) -> None:
        """Send `command`; `receive` gets its answer, or LinkLost, exactly once."""
        if self._transport is None or self.lost.done():
            receive(LinkLost("the connection is closed"))
            return
        self._waiting.append(receive)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub knows one argument

    def call(self, *command: str | bytes | int) -> "asyncio.Future[Any]":
        """Send `command`; the future holds its answer, or fails with Failed or LinkLost."""
        answer: asyncio.Future[Any] = self._loop.create_future()

        def receive(found: object) -> None:
            if answer.done():
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        self.send(receive, *command)
        return answer

    def drop(self) -> None:
        """Close at once: who waits for an answer is told LinkLost. Harmless when repeated."""
        if self._transport is not None:
            self._transport.abort()
        self._end()

    def _end(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        waiting, self._waiting = self._waiting, deque()
        for receive in waiting:
            receive(LinkLost("the connection is gone"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # No isinstance: uvloop's transports are of no such class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.heard = self._loop.time()
        try:
            self._reader.feed(data)
            while not self.lost.done() and (answer := self._reader.gets()) is not _NOTHING:
                # An answer that nobody asked for: whose the next one is cannot be known.
                if not self._waiting:
                    self.drop()
                    return
                self._waiting.popleft()(answer)
        except (hiredis.ProtocolError, ValueError):
            self.drop()

    def connection_lost(self, _error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end()


async def connect(place: Place, at: tuple[str, int] | None = None) -> Link:
    """Return a connection to the Redis that takes writes, logged in: to `at` where it is known.

    Raises OSError (TimeoutError after `limits.LOG_TIMEOUT`) where there is none now, and SettingsError
    where Redis refuses us. Cancelling closes what was opened.
    """
    async with asyncio.timeout(limits.LOG_TIMEOUT):
        if at is not None:
            hosts: tuple[tuple[str, int], ...] = (at,)
        elif place.service is None:
            hosts = place.hosts
        else:
            hosts = (await _ask_sentinels(place),)
        for host in hosts[:-1]:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(limits.LOG_TIMEOUT / len(hosts)):
                    return await _enter(place, *host)
        return await _enter(place, *hosts[-1])


async def _enter(place: Place, host: str, port: int) -> Link:
    link = await _dial(place, host, port)
    try:
        await _greet(link, place)
    except BaseException:
        link.drop()
        raise
    return link


async def _dial(place: Place, host: str, port: int) -> Link:
    _, link = await asyncio.get_running_loop().create_connection(Link, host, port, ssl=place.tls)
    return link


async def _ask_sentinels(place: Place) -> tuple[str, int]:
    """Return where the service's master is, as the first Sentinel says that answers."""
    assert place.service is not None
    patience = limits.LOG_TIMEOUT / (len(place.hosts) + 1)
    for host, port in place.hosts:
        link = None
        try:
            async with asyncio.timeout(patience):
                link = await _dial(place, host, port)
                await _log_in(link, place.sentinel_user, place.sentinel_password, "Sentinel")
                found = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.service)
        except (OSError, Failed):
            continue
        finally:
            if link is not None:
                link.drop()
        if isinstance(found, list) and len(found) == 2:
            with contextlib.suppress(ValueError):
                return found[0].decode(), int(found[1])
    raise LinkLost("no Sentinel names a master")


async def _log_in(link: Link, user: str | None, password: str | None, what: str) -> None:
    if password is None and user is None:
        return
    try:
        await link.call("AUTH", *((user or "default", password or "") if user else (password or "",)))
    except Failed as failed:
        # Its text may quote what we sent.
        raise SettingsError(
            f"{what} refuses the log's user and password ({failed.code}): check the log's URL."
        ) from None


async def _greet(link: Link, place: Place) -> None:
    await _log_in(link, place.user, place.password, "Redis")
    try:
        if place.db:
            await link.call("SELECT", place.db)
        about = dict(line.split(b":", 1) for line in (await link.call("INFO")).splitlines() if b":" in line)
    except Failed as failed:
        if failed.code not in _REFUSED:
            raise LinkLost(f"Redis is not ready ({failed.code})") from None
        raise SettingsError(
            f"Redis lets the log's user do too little ({failed.code}): it needs a login that may use INFO"
            f" and database {place.db}."
        ) from None
    if about.get(b"role", b"master") != b"master":
        raise LinkLost("it is a replica")
    if about.get(b"loading", b"0") != b"0":
        raise LinkLost("it is loading its data")
    link.run = about.get(b"run_id", b"").decode("ascii", "replace")
    # A process that has never been a replica and has its own append-only file has all that it ever told
    # anybody. Any other may have lost a tail that some follower knows.
    promoted = about.get(b"master_replid2", b"").strip(b"0") != b""
    appending = about.get(b"aof_enabled") == b"1"
    link.trusted = appending and not promoted
    link.evicts = (
        about.get(b"maxmemory", b"0") != b"0" and about.get(b"maxmemory_policy", b"")[:7] == b"allkeys"
    )
    if appending:
        link.durability = Durability.STORED
        with contextlib.suppress(Failed):  # many who run Redis for others forbid CONFIG
            if (await link.call("CONFIG", "GET", "appendfsync"))[1:] == [b"always"]:
                link.durability = Durability.SYNCED
