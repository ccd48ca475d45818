"""npm's own clients against the server: `eventsource` and `ws`, as they come, in a real Node."""

import asyncio
from collections.abc import Callable
from typing import Any

from client.obstacle import obstacle
from kit import ServerProcess

Publish = Callable[..., str]


def messages(program: Any, count: int) -> list[dict[str, Any]]:
    """Return this many messages; what else is said between them is passed over."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        said = program.said()
        if "message" in said:
            found.append(said["message"])
    return found


async def test_eventsource_reads_resumes_and_is_told_gaps_and_errors(
    shared: ServerProcess, publish: Publish, node: Callable[..., Any]
) -> None:
    async with obstacle(shared) as way:
        with node("eventsource.mjs", f"{way.url}/channels/es") as program:
            assert "ready" in await asyncio.to_thread(program.said)
            first = publish("es", {"n": 1})
            said = await asyncio.to_thread(program.said)
            assert (said["id"], said["message"]["data"]) == (first, {"n": 1})
            publish("es", 2, event="price")
            assert (await asyncio.to_thread(program.said))["price"]["data"] == 2
            # Cut, it comes back by itself, with its Last-Event-ID.
            way.cut()
            assert "failed" in await asyncio.to_thread(program.said)
            ids = [publish("es", n) for n in (3, 4)]
            assert [m["id"] for m in await asyncio.to_thread(messages, program, 2)] == ids
    with node("eventsource.mjs", f"{shared.url}/channels/es?after=other-7") as program:
        said = [program.said() for _ in range(3)]
        assert "ready" in said[0]
        assert said[1]["gap"]["reason"] == "epoch"
        assert said[2]["message"]["id"] == first
    with node("eventsource.mjs", f"{shared.url}/channels/es?rewind=soon") as program:
        # It has no room for the server's words, only for the status; and it does not come back.
        said = program.said()
        assert (said["failed"], said["state"]) == (400, 2)
        assert "400" in said["text"]


def test_ws_reads_resumes_commands_and_is_told_gaps_and_errors(
    shared: ServerProcess, publish: Publish, node: Callable[..., Any]
) -> None:
    url = f"ws://{shared.host}:{shared.port}/channels/ws"
    with node("ws.mjs", url) as program:
        assert program.said() == {"open": "tidings.v1"}
        assert "ready" in program.said()
        first = publish("ws", {"n": 1})
        assert program.said()["message"]["id"] == first
        program.say({"publish": {"channel": "ws", "data": 2}, "ref": 7})
        said = [program.said() for _ in range(2)]
        second = next(one["ok"]["id"] for one in said if one.get("ref") == 7)
        program.say({"shout": {}})
        error = program.said()["error"]
        assert (error["code"], error["status"]) == ("unknown_command", 400)
        for _ in range(9):
            program.say({"shout": {}})
        while "closed" not in (ended := program.said()):
            pass
        assert ended == {"closed": 4500}
    with node("ws.mjs", f"{url}?after={first}") as program:
        said = [program.said() for _ in range(3)]
        assert said[1]["ready"]["cursor"] == first
        assert said[2]["message"]["id"] == second
    with node("ws.mjs", f"{url}?after=other-7") as program:
        said = [program.said() for _ in range(3)]
        assert said[2]["gap"]["reason"] == "epoch"
    with node("ws.mjs", f"{url}?rewind=soon") as program:
        assert program.said() == {"refused": 400}
