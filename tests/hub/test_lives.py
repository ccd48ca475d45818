"""A life of the log ends and another begins, at the worst moments."""

import json

import pytest

from hub_model import RecordingConnection, World
from tidings.core.history import Retention
from tidings.transports import polling
from tidings.transports.ask import Ask, Transport, after


@pytest.fixture
def world() -> World:
    return World(Retention(), write_buffer=64 * 1024)


def poll(world: World, cursor: str) -> dict[str, object]:
    """Return what a poll is answered that comes with `cursor`."""
    ask = Ask(("news",), after(cursor), Transport.POLLING)
    answer: dict[str, object] = json.loads(polling.answer(world.hub, ask, RecordingConnection()).body)
    return answer


def test_the_next_lifes_head_does_not_make_a_cursor_of_this_one_a_future_one(world: World) -> None:
    for number in range(5):
        world.publish("news", b"%d" % number)
    world.deliver()
    # The log knows of its next life, which has no message yet; the hub has not come to it.
    world.log.begin("e2")
    answer = poll(world, "e1-3")
    assert "gap" not in answer
    assert [m["id"] for m in answer["messages"]] == ["e1-4", "e1-5"]  # type: ignore[attr-defined]
