"""WebSocket: one connection, one JSON object a frame.

Owns: reading the server's frames. Invariant: a connection on which nothing came for 40 s, not even a ping,
counts as cut.
"""

from collections.abc import AsyncGenerator

import aiohttp

from tidings.client.ask import SILENCE, Ask
from tidings.client.errors import BadAnswer, Cut, closed, refusal_in_band
from tidings.client.items import Frame, Sign, as_gap, read, read_message, read_ready

SUBPROTOCOL = "tidings.v1"
FRAME_BYTES = 4 * 1024 * 1024
# `ws_receive` begins anew with every frame, the server's pings (every 25 s) included.
TIMEOUT = aiohttp.ClientWSTimeout(ws_receive=SILENCE, ws_close=1.0)


async def receive(session: aiohttp.ClientSession, ask: Ask) -> AsyncGenerator[Sign, None]:
    """Yield what the frames say until the connection is cut. Raises what ask.as_cut tells apart."""
    connecting = session.ws_connect(
        ask.url,
        params=ask.query("websocket"),
        headers=await ask.headers(),
        protocols=(SUBPROTOCOL,),
        timeout=TIMEOUT,
        max_msg_size=FRAME_BYTES,
    )
    async with connecting as socket:
        heard = False
        while True:
            frame = await socket.receive()
            match frame.type:
                case aiohttp.WSMsgType.TEXT:
                    heard = True
                    for sign in _signs(frame.data.encode()):
                        yield sign
                case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.CLOSED:
                    code = socket.close_code
                    if code is None or code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
                        raise Cut("the connection was cut", transport_failed=not heard)
                    raise closed(code, frame.extra or "")
                case aiohttp.WSMsgType.ERROR:
                    if socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                        raise BadAnswer(f"a frame was larger than {FRAME_BYTES} bytes")
                    raise Cut(str(frame.data) or "the connection broke", transport_failed=False)
                case _:
                    raise BadAnswer("a Tidings server sends text frames only")


def _signs(text: bytes) -> list[Sign]:
    frame = read(text, Frame)
    # Messages first: they are nearly all there is.
    if message := bytes(frame.message):
        return [read_message(message)]
    if frame.gap is not None:
        return [as_gap(frame.gap)]
    if ready := bytes(frame.ready):
        return [read_ready(ready)]
    if frame.advice is not None:
        return [frame.advice]
    if frame.error is not None:
        no = refusal_in_band(frame.error)
        raise Cut(no.detail, transport_failed=False) if no.retry else no
    if frame.end is not None:
        raise closed(frame.end.code, frame.end.reason)
    return []
