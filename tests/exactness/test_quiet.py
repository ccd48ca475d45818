"""A quiet minute without any mischief: nobody is closed who is there, and what comes afterwards is heard."""

import asyncio
import json
from typing import Any

import pytest

from exactness.links import Events, Link, Socket, figures
from kit import serving
from raw import head_of

QUIET = 40.0  # longer than a ping and its grace


@pytest.mark.slow
async def test_clients_that_hear_nothing_for_long_are_still_there_afterwards() -> None:
    with serving() as server:
        links = [await Link.open(server.port) for _ in range(3)]
        for link in links:
            link.patience = QUIET + 15
        socket = await Socket.open(links[0], "/channels/room")
        events = await Events.open(links[1], "/channels/room")
        await links[2].send(head_of("GET", f"/channels/room?wait={QUIET + 10:g}", {}))
        assert b"ready" in await socket.said()
        text, data = asyncio.ensure_future(socket.said()), asyncio.ensure_future(_message(events))
        answer = asyncio.ensure_future(links[2].answer())
        heard: list[asyncio.Future[Any]] = [text, data, answer]
        done, _ = await asyncio.wait(heard, timeout=QUIET, return_when=asyncio.FIRST_COMPLETED)
        assert not done, [one.exception() or one.result() for one in done]
        assert (await figures(server.port))["tidings_live_subscribers"] == 3
        body = b'{"n":1}'
        publisher = await Link.open(server.port)
        await publisher.ask("POST", "/channels/room", {"Content-Type": "application/json"}, body)
        told = [
            json.loads(await text)["message"],
            json.loads(await data),
            json.loads((await answer).body)["messages"][0],
        ]
        assert [message["data"] for message in told] == [{"n": 1}] * 3
        for link in (*links, publisher):
            link.abort()


async def _message(events: Events) -> str:
    """Return the data of the next message; comments and `ready` go by."""
    while True:
        fields = await events.block()
        if "data" in fields and "event" not in fields:
            return fields["data"]
