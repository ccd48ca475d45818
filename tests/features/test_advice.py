"""How often to ask: `poll_ms` in the answers to polls (spec §5.5)."""

import asyncio
import json
import signal
import time

import pytest

import raw
from hub_model import RecordingConnection, World
from kit import ServerProcess
from raw import ask
from story.clients import Publisher
from tidings.core import limits
from tidings.core.history import Retention
from tidings.core.start import Now
from tidings.transports import polling
from tidings.transports.ask import Ask, Transport

STEPS = (250, 500, 1_000, 2_000, 5_000, 10_000, 30_000)


class Polled:
    """One channel of a hub on a simulated clock, and what its pollers are told."""

    def __init__(self) -> None:
        self.world = World(Retention(age=3_600.0), write_buffer=65_536)

    def publish(self, count: int, every: float) -> None:
        for _ in range(count):
            self.world.now += every
            self.world.publish("news", b"1")
            self.world.deliver()

    def advice(self, *channels: str) -> int:
        ask = Ask(channels or ("news",), Now(), Transport.POLLING)
        response = polling.answer(self.world.hub, ask, RecordingConnection())
        self.world.hub.trim()  # as the server does twice a second: what is shared is forgotten
        advice = json.loads(response.body)["advice"]
        assert list(advice) == ["poll_ms"]
        poll_ms: int = advice["poll_ms"]
        return poll_ms


@pytest.fixture
def polled() -> Polled:
    return Polled()


@pytest.mark.parametrize(
    ("every", "poll_ms"),
    [(0.01, 250), (0.2, 250), (0.4, 500), (0.9, 1_000), (1.8, 2_000), (4, 5_000), (60, 5_000)],
)
def test_the_advice_is_about_the_time_between_two_messages(
    polled: Polled, every: float, poll_ms: int
) -> None:
    polled.publish(20, every)
    assert polled.advice() == poll_ms


def test_a_channel_without_messages_is_polled_every_five_seconds(polled: Polled) -> None:
    assert polled.advice() == 5_000


def test_the_advice_grows_when_the_channel_falls_silent_and_shrinks_when_it_wakes(polled: Polled) -> None:
    polled.publish(20, 0.1)
    told = []
    for _ in range(60):
        told.append(polled.advice())
        polled.world.now += 1
    assert told[0] == 250
    assert told[-1] == 5_000
    assert told == sorted(told)
    polled.publish(5, 0.1)
    assert polled.advice() == 250


def test_of_several_channels_the_messages_count_together(polled: Polled) -> None:
    polled.publish(20, 0.4)
    assert polled.advice("chat") == 5_000
    assert polled.advice("chat", "news") == polled.advice("news") == 500


@pytest.mark.parametrize(
    ("lag", "quiet", "busy"),
    [(0.0, 5_000, 250), (0.05, 5_000, 250), (0.1, 10_000, 250), (0.5, 30_000, 1_000), (60.0, 30_000, 30_000)],
)
def test_the_advice_grows_with_the_server_s_load(polled: Polled, lag: float, quiet: int, busy: int) -> None:
    polled.world.hub.lag = lag
    assert polled.advice() == quiet
    polled.publish(20, 0.09)
    assert polled.advice() == busy


def test_the_advice_moves_in_few_steps(polled: Polled) -> None:
    told = set()
    for every in range(1, 200):
        polled.publish(5, every / 20)
        told.add(polled.advice())
    assert told <= set(STEPS)
    assert len(told) == 5


# --- from outside ----------------------------------------------------------------------------------


async def advice(server: ServerProcess, channel: str = "news") -> int:
    answer = await ask(server, "GET", f"/channels/{channel}")
    assert list(answer.json["advice"]) == ["poll_ms"]
    poll_ms: int = answer.json["advice"]["poll_ms"]
    return poll_ms


async def test_a_quiet_and_a_busy_channel_are_advised_differently(
    shared: ServerProcess, channel: str
) -> None:
    publisher = Publisher(shared)
    # A server that is held up again and again advises more: it is asked until it is not.
    async with asyncio.timeout(raw.PATIENCE):
        while (quiet := await advice(shared, channel)) != 5_000:
            assert quiet > 5_000
    async with asyncio.timeout(raw.PATIENCE):
        await publisher.say(channel, *range(20))
        while (busy := await advice(shared, channel)) != 250:
            assert busy > 250
            await publisher.say(channel, *range(20))


async def test_two_pollers_at_the_tail_are_answered_the_same_bytes(
    shared: ServerProcess, channel: str
) -> None:
    [cursor] = await Publisher(shared).say(channel, "one")
    renderings = await raw.metric(shared, "tidings_renderings_total")
    target = f"/channels/{channel}?after={cursor}"
    begun = time.monotonic()
    answers = await asyncio.gather(*[ask(shared, "GET", target) for _ in range(20)])
    forgotten = 1 + int((time.monotonic() - begun) / limits.HOUSEKEEPING)
    bodies = {answer.body for answer in answers}
    # The advice may step while they ask, each time that what is shared is forgotten.
    assert len(bodies) <= 1 + forgotten
    for body in bodies:
        told = json.loads(body)
        assert told.pop("advice")["poll_ms"] in STEPS
        assert told == {"messages": [], "cursor": cursor}
    assert {answer.headers["etag"] for answer in answers} == {f'"{cursor}"'}
    assert await raw.metric(shared, "tidings_renderings_total") == renderings


async def test_what_is_answered_without_a_body_or_after_a_wait_has_no_advice(
    shared: ServerProcess, channel: str
) -> None:
    first = await ask(shared, "GET", f"/channels/{channel}")
    unchanged = await ask(shared, "GET", f"/channels/{channel}", {"If-None-Match": first.headers["etag"]})
    assert (unchanged.status, unchanged.body) == (304, b"")
    waited = await ask(shared, "GET", f"/channels/{channel}?wait=0.1")
    assert "advice" not in waited.json


def stand_still(server: ServerProcess, seconds: float) -> None:
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    server.process.send_signal(signal.SIGCONT)


async def test_standing_still_once_is_no_load_and_again_and_again_is(server: ServerProcess) -> None:
    # The next look is that much late; on its way out of it the server answers behind it.
    stand_still(server, 2 * limits.HOUSEKEEPING)
    assert await advice(server) == 5_000
    async with asyncio.timeout(60):
        while await advice(server) < 10_000:
            stand_still(server, 2 * limits.HOUSEKEEPING)
        while await advice(server) > 5_000:
            pass  # asked again until it is rested
