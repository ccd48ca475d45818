"""One exchange of each kind with the real server: the sizes that the formulas are fed with.

Owns: how the sizes are found. Does not own: what follows from them (formulas.py).
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from tidings.core.limits import COMMENT_EVERY, PING_EVERY
from tidings.lab.listeners import EventStream, Listener, ListenerFailed, LongPoller, Poller, WebSocketStream
from tidings.lab.load import Load
from tidings.lab.publisher import Publisher, message
from tidings.lab.servers import Server
from tidings.lab.sizes import Polls, Sizes, Stream
from tidings.lab.tally import Tally
from tidings.wire.event_stream import COMMENT
from tidings.wire.web_socket import PING

CHANNEL: Final = "lab"
_PATIENCE: Final = 10.0  # seconds for one message on this machine
_MESSAGES: Final = re.compile(rb'^\{"messages":\[(.*)\],"cursor"')
_PONG: Final = 6  # bytes: as short as a ping, and masked


async def calibrate(server: Server, load: Load) -> Sizes:
    """Return the sizes, after one message heard by one client of each transport."""
    host, rtt = server.host, 0.0
    polling = Poller(host, CHANNEL, Tally(), rtt=rtt)
    hanging = LongPoller(host, CHANNEL, Tally(), rtt=rtt, wait=load.wait)
    events = EventStream(host, CHANNEL, Tally(), rtt=rtt)
    socket = WebSocketStream(host, CHANNEL, Tally(), rtt=rtt)
    listeners: list[Listener] = [polling, hanging, events, socket]
    publisher = await Publisher(server, CHANNEL).connect()
    try:
        for listener in listeners:
            await join(server, listener)
        polling.ask()  # with a cursor, as all but the first
        await _until(lambda: b'"messages":[]' in polling.last_body and polling.tally.answers == 2)
        opened = {stream: stream.down for stream in (events, socket)}
        publisher.publish(message(0, load.size))
        await publisher.settled()
        polling.ask()
        await _until(lambda: all(listener.messages for listener in listeners))
        return Sizes(
            polling=_polls(polling),
            long_polling=_polls(hanging),
            sse=Stream(
                opening_up=events.up,
                opening_down=opened[events],
                message=events.down - opened[events],
                quiet_every=COMMENT_EVERY,
                quiet_size=len(COMMENT),
            ),
            websocket=Stream(
                opening_up=socket.up,
                opening_down=opened[socket],
                message=socket.down - opened[socket],
                idle_up=_PONG / PING_EVERY,
                idle_down=len(PING) / PING_EVERY,
                idle_moves=2 / PING_EVERY,
            ),
        )
    finally:
        publisher.close()
        for listener in listeners:
            listener.leave()


async def join(server: Server, listener: Listener) -> None:
    """Connect a client, and wait until it listens. Raises ListenerFailed."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: listener, server.address, server.port)
    try:
        async with asyncio.timeout(_PATIENCE):
            await listener.ready
    except TimeoutError:
        raise ListenerFailed(f"a client heard nothing for {_PATIENCE:g} s") from None


def _polls(client: Poller) -> Polls:
    """Return the sizes of a poller whose last answer held one message."""
    found = _MESSAGES.match(client.last_body)
    assert found is not None, client.last_body
    body = len(client.last_body)
    return Polls(
        request=client.last_request,
        head=client.last_size - body - len(str(body)),
        envelope=body - len(found[1]),
        message=len(found[1]),
    )


async def _until(true: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            while not true():  # noqa: ASYNC110 - a protocol's counts, which nobody waits for but here
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise ListenerFailed(f"an exchange was not over within {_PATIENCE:g} s") from None
