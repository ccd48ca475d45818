"""PyPI's own clients against the server: `httpx-sse` and `websockets`, as they come."""

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent, SSEError, aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kit import ServerProcess

Publish = Callable[..., str]


async def test_httpx_sse_reads_resumes_and_is_told_gaps_and_errors(
    shared: ServerProcess, publish: Publish
) -> None:
    url = f"{shared.url}/channels/httpx"
    async with httpx.AsyncClient(timeout=20) as client:
        async with aconnect_sse(client, "GET", url) as source:
            events = _with_data(source)
            ready = await anext(events)
            assert ready.event == "ready"
            first = publish("httpx", {"n": 1})
            priced = publish("httpx", 101.5, event="price", key="ACME")
            message, price = await anext(events), await anext(events)
        assert (message.event, message.id, json.loads(message.data)["data"]) == ("message", first, {"n": 1})
        assert (price.event, price.id, json.loads(price.data)["key"]) == ("price", priced, "ACME")
        missed = publish("httpx", "missed")
        async with aconnect_sse(client, "GET", url, headers={"Last-Event-ID": price.id}) as source:
            events = _with_data(source)
            assert (await anext(events)).event == "ready"
            assert (await anext(events)).id == missed
        async with aconnect_sse(client, "GET", url, params={"after": "other-7"}) as source:
            events = _with_data(source)
            told = [await anext(events) for _ in range(3)]
        assert [event.event for event in told] == ["ready", "gap", "message"]
        assert json.loads(told[1].data)["reason"] == "epoch"
        assert told[2].id == first
        async with aconnect_sse(client, "GET", f"{shared.url}/channels/httpx?rewind=soon") as source:
            problem = json.loads(await source.response.aread())
            with pytest.raises(SSEError):
                await anext(source.aiter_sse())
        assert (source.response.status_code, problem["code"]) == (400, "bad_parameter")
        assert "rewind" in problem["detail"]


async def _with_data(source: EventSource) -> AsyncIterator[ServerSentEvent]:
    """Yield what a browser would: httpx-sse hands on a lone `retry:` as well, as an event without data."""
    async for event in source.aiter_sse():
        if event.data:
            yield event


async def _never_ends(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


async def test_websockets_reads_resumes_commands_and_is_told_gaps_and_errors(
    shared: ServerProcess, publish: Publish
) -> None:
    url = f"ws://{shared.host}:{shared.port}/channels/websockets"
    async with connect(url, subprotocols=["tidings.v1"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "tidings.v1"
        assert "ready" in json.loads(await socket.recv())
        first = publish("websockets", {"n": 1})
        assert json.loads(await socket.recv())["message"]["id"] == first
        await socket.send(json.dumps({"publish": {"channel": "websockets", "data": 2}, "ref": 7}))
        said = [json.loads(await socket.recv()) for _ in range(2)]
        second = next(one["ok"]["id"] for one in said if one.get("ref") == 7)
        assert next(one["message"] for one in said if "message" in one)["id"] == second
        await socket.send('{"shout":{}}')
        error = json.loads(await socket.recv())["error"]
        assert (error["code"], error["retry"]) == ("unknown_command", False)
        assert "subscribe" in error["detail"]
        for _ in range(9):
            await socket.send('{"shout":{}}')
        with pytest.raises(ConnectionClosed) as closed:
            await _never_ends(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4500
    async with connect(f"{url}?after={first}") as socket:
        assert json.loads(await socket.recv())["ready"]["cursor"] == first
        assert json.loads(await socket.recv())["message"]["id"] == second
    async with connect(f"{url}?after=other-7") as socket:
        told = [json.loads(await socket.recv()) for _ in range(3)]
    assert [next(iter(one)) for one in told] == ["ready", "gap", "message"]
    assert told[1]["gap"]["reason"] == "epoch"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{url}?rewind=soon"):
            pass
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["code"] == "bad_parameter"
