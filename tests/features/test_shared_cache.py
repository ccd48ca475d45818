"""A cache that many clients share, in front of the server (spec §8.3): a real nginx with `proxy_cache`.

What it costs the server is counted in requests that the cache passed on, by the cache's own log.
"""

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import raw
from features.nginx import CONFIGURATION, PROGRAM, Nginx, nginx_before
from kit import ServerProcess, serving
from raw import Answer, Socket, Wire, ask, head_of
from story.clients import Publisher

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no `nginx` on PATH or in /usr/sbin: install Debian's nginx to run these tests"
)
POLLERS = 1_000
MAX_AGE = 60


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server with public channels."""
    with serving(
        *("--public", "public.**"),
        *("--public-cache", str(MAX_AGE)),
        *("--allow-origin", "https://app.test"),
        *("--history-count", "100"),
        *("--drain", "0"),
    ) as running:
        yield running


@pytest.fixture
async def nginx(server: ServerProcess, tmp_path: Path) -> AsyncIterator[Nginx]:
    await raw.until_metric(server, "tidings_live_subscribers", 0)  # those of the test before are gone
    async with nginx_before(server, tmp_path) as running:
        yield running
        await raw.close_all()


@pytest.fixture
def public(channel: str) -> str:
    return f"public.{channel}"


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def tail(server: ServerProcess, channel: str) -> str:
    """Return the cursor of who has everything."""
    cursor: str = (await ask(server, "GET", f"/channels/{channel}")).json["cursor"]
    return cursor


# --- what it is for --------------------------------------------------------------------------------


async def test_a_thousand_long_polls_through_a_cache_cost_the_server_as_much_as_one(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    publisher = Publisher(server)
    cursor = await tail(server, public)
    wires = [await Wire.connect(nginx) for _ in range(POLLERS)]
    costs = {}
    for pollers in (1, 10, POLLERS, POLLERS):
        delivered = await raw.metric(server, "tidings_delivered_total")
        question = head_of("GET", f"/channels/{public}?after={cursor}&wait=25")
        for wire in wires[:pollers]:
            await wire.send(question)
        await raw.until_metric(server, "tidings_live_subscribers", 1)
        [identity] = await publisher.say(public, pollers)
        answers: list[Answer] = await asyncio.gather(*[wire.answer() for wire in wires[:pollers]])
        for answer in answers:
            assert answer.status == 200
            assert [(m["id"], m["data"]) for m in answer.json["messages"]] == [(identity, pollers)]
        [cursor] = {answer.json["cursor"] for answer in answers}
        costs[pollers] = await nginx.passed_on(pollers)
        assert await raw.metric(server, "tidings_delivered_total") - delivered == costs[pollers]
    assert costs == {1: 1, 10: 1, POLLERS: 1}


async def test_a_thousand_polls_for_the_same_past_cost_the_server_as_much_as_one(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    cursor = await tail(server, public)
    ids = await Publisher(server).say(public, *range(50))
    target = f"/channels/{public}?after={cursor}"
    wires = [await Wire.connect(nginx) for _ in range(POLLERS)]
    answers = await asyncio.gather(*[wire.ask("GET", target) for wire in wires])
    assert len({answer.body for answer in answers}) == 1
    assert [message["id"] for message in answers[0].json["messages"]] == ids
    assert await nginx.passed_on(POLLERS) == 1


async def test_who_follows_through_a_cache_misses_nothing(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    cursor = await tail(server, public)
    count = 60

    async def follow() -> list[int]:
        had: list[int] = []
        place = cursor
        wire = await Wire.connect(nginx)
        while len(had) < count:
            answer = (await wire.ask("GET", f"/channels/{public}?after={place}&wait=5")).json
            had += [message["data"] for message in answer["messages"]]
            place = answer["cursor"]
        return had

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    publisher = Publisher(server)
    for number in range(count):
        await publisher.say(public, number)
        await asyncio.sleep(0.005)  # the pace of a busy channel; nothing is waited for
    async with asyncio.timeout(30):
        for follower in followers:
            assert await follower == list(range(count))


# --- what may be kept ------------------------------------------------------------------------------


async def test_answers_with_messages_of_public_channels_say_how_long_they_may_be_kept(
    server: ServerProcess, public: str
) -> None:
    cursor = await tail(server, public)
    await Publisher(server).say(public, 1)
    for query in (f"after={cursor}", f"after={cursor}&wait=5", f"after={cursor}&limit=1"):
        answer = await ask(server, "GET", f"/channels/{public}?{query}")
        assert answer.json["messages"]
        assert answer.headers["cache-control"] == f"public, max-age={MAX_AGE}"
        # What else decides over the answer to this URL.
        varies = {name.strip().lower() for name in answer.headers["vary"].split(",")}
        assert varies == {"accept", "last-event-id", "origin", "prefer", "upgrade"}


async def test_nothing_else_may_be_kept(server: ServerProcess, public: str, channel: str) -> None:
    publisher = Publisher(server)
    cursor = await tail(server, public)
    [last] = await publisher.say(public, 1)
    await publisher.say(channel, 1)
    for target in (
        f"/channels/{public}",  # empty
        f"/channels/{public}?after={last}",
        f"/channels/{public}?after={last}&wait=0.1",
        f"/channels/{channel}?after={cursor}",  # not public
        f"/channels/{channel},{public}?after={cursor}",  # in part
        f"/channels/{public}?after=earliest",  # what these say changes
        f"/channels/{public}?rewind=1",
        f"/channels/{public}?rewind=60s",
        "/channels/a%20b",
        "/metrics",
        "/readyz",
    ):
        answer = await ask(server, "GET", target)
        assert answer.headers["cache-control"] == "no-store", target
    unchanged = await ask(server, "GET", f"/channels/{public}?after={last}", {"If-None-Match": f'"{last}"'})
    assert (unchanged.status, unchanged.headers["cache-control"]) == (304, "no-store")


async def test_an_empty_answer_is_not_given_to_who_asks_after_a_message_came(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    cursor = await tail(server, public)
    for query in (f"after={cursor}", f"after={cursor}&wait=0.1"):
        for _ in range(2):
            assert (await ask(nginx, "GET", f"/channels/{public}?{query}")).json["messages"] == []
    assert await nginx.passed_on(4) == 4
    await Publisher(server).say(public, 1)
    for query in (f"after={cursor}", f"after={cursor}&wait=0.1"):
        for _ in range(2):
            answer = (await ask(nginx, "GET", f"/channels/{public}?{query}")).json
            assert [message["data"] for message in answer["messages"]] == [1]
    assert await nginx.passed_on(4) == 2


async def test_a_private_channel_is_not_kept(server: ServerProcess, nginx: Nginx, channel: str) -> None:
    cursor = await tail(server, channel)
    await Publisher(server).say(channel, 1)
    for _ in range(3):
        answer = await ask(nginx, "GET", f"/channels/{channel}?after={cursor}")
        assert [message["data"] for message in answer.json["messages"]] == [1]
    assert await nginx.passed_on(3) == 3


async def test_a_gap_may_be_kept_with_the_messages_behind_it(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    cursor = await tail(server, public)
    await Publisher(server).say(public, *range(120))
    for _ in range(2):
        answer = (await ask(nginx, "GET", f"/channels/{public}?after={cursor}")).json
        assert [gap["reason"] for gap in answer["gap"]] == ["retention"]
        assert [message["data"] for message in answer["messages"]] == list(range(20, 120))
    assert await nginx.passed_on(2) == 1


# --- one URL, other answers ------------------------------------------------------------------------


async def test_what_is_kept_of_a_poll_is_not_given_to_a_stream_or_a_socket(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    cursor = await tail(server, public)
    [identity] = await Publisher(server).say(public, 1)
    target = f"/channels/{public}?after={cursor}"
    for _ in range(2):
        assert (await ask(nginx, "GET", target)).json["cursor"] == identity
    wire = await Wire.connect(nginx)
    await wire.send(head_of("GET", target, {"Accept": "text/event-stream"}))
    assert (await wire.head()).headers["content-type"].startswith("text/event-stream")
    wire.abort()
    socket = await Socket.open(await Wire.connect(nginx), target)
    assert json.loads(await socket.said())["ready"]["cursor"] == cursor
    assert json.loads(await socket.said())["message"]["id"] == identity


async def test_what_is_kept_for_one_origin_is_not_given_to_another(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    cursor = await tail(server, public)
    await Publisher(server).say(public, 1)
    target = f"/channels/{public}?after={cursor}"
    for _ in range(2):
        plain = await ask(nginx, "GET", target)
        assert "access-control-allow-origin" not in plain.headers
        allowed = await ask(nginx, "GET", target, {"Origin": "https://app.test"})
        assert allowed.headers["access-control-allow-origin"] == "https://app.test"
        refused = await ask(nginx, "GET", target, {"Origin": "https://evil.test"})
        assert refused.status == 403
    # Each of both is kept, and the refusal is not.
    assert await nginx.passed_on(6) == 1 + 1 + 2


async def test_where_a_header_says_where_to_begin_it_is_part_of_the_question(
    server: ServerProcess, nginx: Nginx, public: str
) -> None:
    ids = await Publisher(server).say(public, *range(5))
    for _ in range(2):
        for number, identity in enumerate(ids[:4]):
            answer = await ask(nginx, "GET", f"/channels/{public}", {"Last-Event-ID": identity})
            assert [message["data"] for message in answer.json["messages"]] == list(range(number + 1, 5))
        assert (await ask(nginx, "GET", f"/channels/{public}")).json["messages"] == []


# --- settings and documents ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ("--public", "news"),
        ("--public-cache", "5"),
        ("--public", "news", "--public-cache", "0.5"),
        ("--public", "news", "--public-cache", "3601"),
        ("--public", "a b", "--public-cache", "5"),
    ],
)
def test_settings_that_cannot_be_meant_are_said_before_anything_starts(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tidings", "serve", "--port", "0", *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert result.returncode == 2
    assert result.stderr.strip()
    assert "Traceback" not in result.stderr


def test_the_reference_sets_nginx_up_as_it_is_here() -> None:
    reference = Path(__file__).parents[2] / "docs" / "reference.md"
    shown = reference.read_text().split("```nginx\n")[1].split("```")[0]
    here = CONFIGURATION.replace("{{", "{").replace("}}", "}")

    def lines(text: str) -> set[str]:
        kept = {line.strip() for line in text.splitlines()}
        # What differs: addresses, folders, TLS, and how long one that is merged may wait.
        other = ("proxy_pass", "proxy_cache_path", "listen", "ssl_")
        return {line for line in kept if not line.startswith(other)}

    assert lines(shown) - lines(here) == {"proxy_cache_lock_timeout 10s;"}
