"""The one idea, put to the test: a client is a cursor, and all else about it may change at any moment."""

import asyncio
import contextlib
import os
import random
import sys

import pytest

import raw
from kit import ServerProcess
from raw import Wire
from story.clients import TRANSPORTS, Client, Publisher, connect, position

CHANNELS = tuple(f"switch-{letter}" for letter in "abcde")
ON_EACH = 1_000  # as many as are kept, so that nobody may miss one
CLIENTS = 20


class Wanderer:
    """A client that keeps nothing but its cursor, and what it was given."""

    def __init__(
        self, server: ServerProcess, cursor: str, seed: int, published: list[tuple[str, str, int]]
    ) -> None:
        self.server = server
        self._published = published
        self.cursor = cursor
        self.chance = random.Random(seed)
        self.got: list[tuple[str, str, int]] = []
        self.connections = dict.fromkeys(TRANSPORTS, 0)
        self.thrown_away = 0
        self.repeats = 0

    async def wander(self, until: int) -> None:
        """Change transport at random moments until `until` messages have come."""
        while len(self.got) < until:
            if self.chance.random() < 0.1:
                await self._fall_behind(until)
            transport = self.chance.choice(TRANSPORTS)
            with contextlib.suppress(ConnectionError):
                client = await connect(
                    self.server, transport, *CHANNELS, cursor=self.cursor, query=self._query(transport)
                )
                self.connections[transport] += 1
                await self._listen(client, until)

    async def _fall_behind(self, until: int) -> None:
        """Stay away until hundreds of messages have gone by, so that what follows comes in several chunks."""
        back = min(len(self._published) + 700, until)
        while len(self._published) < back:  # noqa: ASYNC110  the publishers' progress has no event
            await asyncio.sleep(0.01)

    def _query(self, transport: str) -> dict[str, str]:
        polls = transport in ("polling", "long-polling")
        return {"limit": str(self.chance.choice((1, 7, 50, 300)))} if polls else {}

    async def _listen(self, client: Client, until: int) -> None:
        """Take some messages, and leave rudely. The client itself checks the ids on its connection."""
        taken = 0
        try:
            # On a stream a step is one message: some stay for many chunks, and some for a few messages.
            streams = client.transport in ("sse", "websocket")
            for _ in range(self.chance.randrange(1, self.chance.choice((30, 700)) if streams else 30)):
                taken = self._keep(client, taken)
                if len(self.got) >= until:
                    return
                await client.step()
            taken = self._keep(client, taken)
            if self.chance.random() < 0.5:
                await self._throw_away(client)
        finally:
            client.abort()

    async def _throw_away(self, client: Client) -> None:
        """Let something come, or be on its way, that is never looked at."""
        self.thrown_away += 1
        if client.transport == "long-polling":
            client._query["after"] = self.cursor  # a question, and its answer is not waited for
            await client.send_question(wait="10")  # type: ignore[attr-defined]
            if self.chance.random() < 0.5:
                return
        wire: Wire = client._wire  # type: ignore[attr-defined]
        # Half of an event, a frame or an answer, or several: the server has sent it, and nobody has it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await wire.reader.read(self.chance.randrange(1, 2_000))

    def _keep(self, client: Client, taken: int) -> int:
        for message in client.messages[taken:]:
            # An answer that never arrived is asked for again; what is known already is dropped.
            if position(message["id"]) <= position(self.cursor):
                self.repeats += 1
            else:
                self.got.append((message["id"], message["channel"], message["data"]))
                self.cursor = message["id"]
        assert client.gaps == []
        if client.cursor and position(client.cursor) > position(self.cursor):
            self.cursor = client.cursor
        return len(client.messages)


@pytest.mark.slow
@pytest.mark.timeout(280)
async def test_clients_that_change_transport_at_random_moments_hear_everything_once_and_in_order(
    server: ServerProcess,
) -> None:
    seed = int(os.environ.get("TIDINGS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    sys.stderr.write(f"TIDINGS_SEED={seed}\n")  # shown when the test fails
    chance = random.Random(seed)
    start = (await raw.ask(server, "GET", f"/channels/{','.join(CHANNELS)}")).json["cursor"]
    published: list[tuple[str, str, int]] = []
    wanderers = [Wanderer(server, start, chance.randrange(2**32), published) for _ in range(CLIENTS)]
    due = [channel for channel in CHANNELS for _ in range(ON_EACH)]
    chance.shuffle(due)

    async def publish(part: list[tuple[int, str]]) -> None:
        publisher = Publisher(server)
        for number, channel in part:
            [identity] = await publisher.say(channel, number)
            published.append((identity, channel, number))

    numbered = list(enumerate(due))
    async with asyncio.timeout(240), asyncio.TaskGroup() as tasks:
        for wanderer in wanderers:
            tasks.create_task(wanderer.wander(len(due)))
        for part in range(3):
            tasks.create_task(publish(numbered[part::3]))
    published.sort(key=lambda one: position(one[0]))
    assert len(published) == len(due) == 5_000
    for wanderer in wanderers:
        # Compared one by one: the difference of two long lists takes minutes to print.
        for mine, right in zip(wanderer.got, published, strict=False):
            assert mine == right, f"seed {seed}"
        assert len(wanderer.got) == len(published)
    # The test did what it says: all were on several transports, and answers were lost on the way.
    for transport in TRANSPORTS:
        assert sum(wanderer.connections[transport] for wanderer in wanderers) > 2 * CLIENTS
    assert all(sum(map(bool, wanderer.connections.values())) > 1 for wanderer in wanderers)
    assert sum(wanderer.thrown_away for wanderer in wanderers) > CLIENTS
