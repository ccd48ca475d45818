"""When to come back, when a better transport is tried, and how long a long-poll is held."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from aiohttp import web

from tidings.client import Message, ask, backoff, follow, long_polling, upgrade
from tidings.client.backoff import Backoff
from tidings.client.choice import TRANSPORTS, Choice
from tidings.client.upgrade import Upgrade

Play = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


def most(_: float, high: float) -> float:
    return high


def bounds(waits: Backoff, count: int) -> list[float]:
    return [round(waits.next(), 2) for _ in range(count)]


def test_the_bound_doubles_up_to_its_cap_and_begins_anew() -> None:
    waits = Backoff(chance=most)
    assert bounds(waits, 9) == [0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 19.2, 20.0, 20.0]
    waits.reset()
    assert bounds(waits, 2) == [0.3, 0.6]


def test_a_wait_is_anywhere_below_its_bound() -> None:
    drawn: list[tuple[float, float]] = []
    waits = Backoff(chance=lambda low, high: drawn.append((low, high)) or low)  # type: ignore[func-returns-value]
    assert waits.next(least=7.0) == 7.0
    assert drawn == [(0.0, 0.3)]


def test_a_drain_spreads_the_coming_back_until_there_is_a_connection() -> None:
    waits = Backoff(chance=most)
    waits.advise(reconnect_within_ms=3000)
    # That the old connection was a good one does not take back what was said on it.
    waits.reset()
    assert bounds(waits, 6) == [3.0, 3.0, 3.0, 3.0, 4.8, 9.6]
    waits.connected()
    waits.reset()
    assert bounds(waits, 1) == [1.0]


def test_after_a_connection_that_worked_the_bound_begins_with_a_second() -> None:
    waits = Backoff(chance=most)
    assert bounds(waits, 2) == [0.3, 0.6]
    waits.connected()
    waits.reset()
    assert bounds(waits, 7) == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]
    told = Backoff(chance=most)
    told.advise(retry_ms=200)
    told.connected()
    assert bounds(told, 1) == [0.2], "the server's own word counts"


def test_hints_are_followed_within_bounds() -> None:
    waits = Backoff(chance=most)
    waits.advise(retry_ms=1000)
    assert bounds(waits, 2) == [1.0, 2.0]
    assert (backoff.hint(0), backoff.hint(1e12)) == (backoff.HINT_LEAST, backoff.HINT_MOST)


def test_better_transports_are_tried_in_turn_and_then_after_twice_the_time() -> None:
    plan = Upgrade(chance=lambda low, high: (low + high) / 2)
    plan.plan(now=0.0)
    tried: list[tuple[float, str]] = []
    for now in range(0, 3600, 10):
        while (transport := plan.next(("websocket", "sse"), float(now))) is not None:
            tried.append((now, transport))
    at = [now for now, transport in tried if transport == "websocket"]
    assert tried[:2] == [(30, "websocket"), (30, "sse")]
    assert at[:5] == [30, 90, 210, 450, 930]
    assert {later - earlier for earlier, later in pairwise(at[5:])} == {upgrade.MOST}


def test_a_transport_that_lives_as_long_as_before_has_its_turn_last() -> None:
    for age in (0.0, 5.0, 15.0, 59.0):
        choice = Choice("http://clock.example", TRANSPORTS)
        assert not choice.lived("websocket", age)
        assert choice.order(0.0)[0] == "websocket"
        assert choice.lived("websocket", age + 0.9)
        assert choice.order(0.0)[0] == "sse"


def test_one_that_lives_for_longer_or_each_time_for_another_while_is_kept() -> None:
    choice = Choice("http://clock.example", TRANSPORTS)
    ages = (5.0, 7.0, 60.0, 60.0, 61.0, 2.0)
    assert not any(choice.lived("websocket", age) for age in ages)


def test_a_long_poll_is_kept_that_may_hang_for_less() -> None:
    choice = Choice("http://clock.example", TRANSPORTS)
    assert not any(choice.lived("long-polling", age) for age in (20.0, 20.0, 5.0, 5.0))
    assert not choice.lived("long-polling", 3.0)
    assert choice.lived("long-polling", 3.0), "nothing that hangs gets through"


async def test_a_long_poll_that_is_cut_at_the_same_age_twice_is_held_for_less(
    play: Play, monkeypatch: pytest.MonkeyPatch, steady: None
) -> None:
    monkeypatch.setattr(long_polling, "HOLD_LEAST", 0.1)
    monkeypatch.setattr(backoff, "BASE_CUT", 0.01)
    waits: list[float] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        wait = float(request.query.get("wait", 0))
        waits.append(wait)
        if wait > ask.HOLD / 2:
            # A proxy's patience.
            await asyncio.sleep(0.2)
            assert request.transport is not None
            request.transport.abort()
        messages = [{"id": "e-1", "channel": "c", "time": 1, "data": 1}] if 0 < wait < ask.HOLD else []
        return web.json_response({"messages": messages, "cursor": "e-1" if messages else "e-0"})

    async with asyncio.timeout(20), follow(await play(answer), "c", transport="long-polling") as feed:
        assert isinstance(await anext(feed), Message)
    held = [wait for wait in waits if wait]
    assert (held[0], held[-1]) == (ask.HOLD, ask.HOLD / 2)
    assert held.count(ask.HOLD) >= 2
