"""How the process ends: everyone is told, and nothing that was acknowledged is taken back."""

import asyncio
import json
import signal

import raw
from kit import serving
from raw import CLOSE, PING, Socket, Stream, Wire, head_of
from story.clients import Publisher


async def test_sigterm_ends_every_kind_of_connection_in_its_own_way() -> None:
    with serving("--drain", "0.3") as server:
        idle, half, polls, streams, sockets = [await Wire.connect(server) for _ in range(5)]
        assert (await idle.ask("GET", "/livez")).status == 200
        await half.send(b"GET /live")
        cursor = (await polls.ask("GET", "/channels/news")).json["cursor"]
        await polls.send(head_of("GET", f"/channels/news?after={cursor}&wait=50"))
        await streams.send(head_of("GET", "/channels/news", {"Accept": "text/event-stream"}))
        await streams.head()
        stream = Stream(streams)
        for _ in range(2):
            await stream.block()  # retry, ready
        socket = await Socket.open(sockets, "/channels/news")
        await socket.said()
        await raw.until_metric(server, "tidings_live_subscribers", 3)

        server.process.send_signal(signal.SIGTERM)

        # The parked question is answered, with a cursor to ask the next server with.
        answer = await polls.answer()
        assert answer.status == 200
        assert answer.json == {"messages": [], "cursor": cursor}
        assert answer.headers["connection"] == "close"
        assert await polls.rest() == b""
        # The stream says that it ends, and when to come back.
        events = []
        while (block := await stream.block()) is not None:
            events.append(dict(block))
        assert [fields["event"] for fields in events] == ["advice", "end"]
        within_ms = json.loads(events[0]["data"])["reconnect_within_ms"]
        assert within_ms >= 300
        assert list(json.loads(events[1]["data"])) == ["code", "reason"]
        assert 0 <= int(events[1]["retry"]) <= within_ms
        assert not any("id" in fields for fields in events)
        # So does the socket, before it is closed with the code that means: come back.
        words = []
        while True:
            opcode, payload = await socket.frame()
            if opcode == CLOSE:
                assert int.from_bytes(payload[:2], "big") == 4005
                break
            if opcode != PING:
                words.append(json.loads(payload))
        assert [next(iter(word)) for word in words] == ["advice", "end"]
        assert words[0]["advice"]["reconnect_within_ms"] >= 300
        assert words[1]["end"]["code"] == 4005
        await socket.wire.send(raw.frame(CLOSE, b"\x0f\xa5"))
        assert await socket.wire.rest() == b""
        assert await idle.rest() == b""
        await raw.close_all()
        assert server.process.wait(10) == 0
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)


async def test_everyone_is_told_to_come_back_within_the_drain_window() -> None:
    with serving("--drain", "0.5") as server:
        # A hundred sockets, so that the closes are spread over the drain window.
        sockets = [await Socket.open(await Wire.connect(server), "/channels/news") for _ in range(100)]
        for socket in sockets:
            await socket.said()
        server.process.send_signal(signal.SIGTERM)
        for socket in sockets:
            assert "advice" in json.loads(await socket.said())
            assert "end" in json.loads(await socket.said())
            opcode, payload = await socket.frame()
            assert (opcode, payload[:2]) == (CLOSE, (4005).to_bytes(2, "big"))
            socket.wire.abort()
        await raw.close_all()
        assert server.process.wait(10) == 0


async def test_a_single_process_ends_in_order_when_its_terminal_closes() -> None:
    with serving("--drain", "0.2") as server:
        socket = await Socket.open(await Wire.connect(server), "/channels/news")
        await socket.said()
        server.process.send_signal(signal.SIGHUP)
        assert await socket.closed() == 4005
        await raw.close_all()
        assert await asyncio.to_thread(server.process.wait, 30) == 0


async def test_a_client_that_does_not_answer_does_not_hold_the_server_up() -> None:
    with serving("--drain", "0.2") as server:
        wire = await Wire.connect(server, receive_buffer=4096)
        socket = await Socket.open(wire, "/channels/news")
        await socket.said()
        body = b'"%b"' % (b"x" * 60_000)
        await Publisher(server).flood("news", [body] * 200, window=5)  # it reads none of it
        assert server.stop() == 0


async def test_a_second_signal_stops_at_once() -> None:
    with serving("--drain", "60") as server:
        sockets = [await Socket.open(await Wire.connect(server), "/channels/news") for _ in range(50)]
        for socket in sockets:
            assert "ready" in json.loads(await socket.said())
        server.process.send_signal(signal.SIGTERM)
        # The first to be told shows that it drains; the others would wait up to a minute.
        told = [asyncio.ensure_future(socket.said()) for socket in sockets]
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        server.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(server.process.wait, 15) == 0
        await asyncio.gather(*told, return_exceptions=True)
    assert "Traceback" not in "".join(server.errors)


async def test_sigint_is_graceful_too() -> None:
    with serving("--drain", "0") as server:
        socket = await Socket.open(await Wire.connect(server))
        await socket.said()
        server.process.send_signal(signal.SIGINT)
        while True:
            opcode, payload = await socket.frame()
            if opcode == CLOSE:
                break
        assert payload[:2] == (4005).to_bytes(2, "big")
        await raw.close_all()
        assert server.process.wait(10) == 0
