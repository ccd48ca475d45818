"""Several nodes on a log of partitions: each lines the messages up its own way, and a cursor is good at all.

Clients hop between nodes with what they were told last. What each is told must be, for each partition,
exactly what follows, whichever node says it; or a gap.
"""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hub_model import ListLog
from tidings.core.history import Retention
from tidings.core.message import Cursor, Draft, Gap, GapReason, Hole, Life, Message
from tidings.core.start import Earliest, Now
from tidings.hub import Hub
from tidings.hub.cohorts import Subscriber
from tidings.logs.memory import MemoryLog
from tidings.logs.partitions import PartitionedLog
from tidings.transports.answers import look
from tidings.transports.ask import Ask, Transport, after
from tidings.wire import cursor as cursors

CHANNELS = tuple("abcdefgh")
PARTITIONS = 3


class Node:
    """One hub, and how far it has followed each partition."""

    def __init__(self, partitions: Sequence[ListLog], begins: Sequence[int]) -> None:
        self.log = PartitionedLog(partitions)
        self.partitions = partitions
        self.log._line.begin(list(begins))
        self.log._numbering.lives = [Life(p.epoch, lost) for p, lost in zip(partitions, begins, strict=True)]
        self.hub = Hub(
            self.log, Retention(count=4), clock=lambda: 1.0, monotonic=lambda: 1.0, soon=lambda _call: None
        )
        self.hub.begin(Life(self.log.epoch))
        self.followed = list(begins)

    def follow(self, partition: int, count: int) -> None:
        """Bring the next messages of one partition."""
        batch = self.partitions[partition].messages[self.followed[partition] :][:count]
        if batch:
            self.followed[partition] += len(batch)
            lined_up = self.log._lined_up(partition, batch)
            assert not isinstance(lined_up, Life | Hole)
            self.hub.deliver(lined_up)

    def miss(self, partition: int, count: int) -> None:
        """Be away while the next messages of one partition are trimmed."""
        missed = min(count, len(self.partitions[partition].messages) - self.followed[partition])
        self.followed[partition] += missed
        hole = self.log._lined_up(partition, Hole(self.followed[partition]))
        assert isinstance(hole, Hole)
        self.hub.lose(hole)


class Client:
    """Hears some channels, polling at any node."""

    def __init__(self, channels: tuple[str, ...], cursor: str) -> None:
        self.channels = channels
        self.cursor = cursor
        self.heard: list[tuple[str, bytes]] = []
        self.gaps = 0


class Cluster(RuleBasedStateMachine):
    @initialize(nodes=st.integers(1, 3))
    def begin(self, nodes: int) -> None:
        self.partitions = [ListLog(f"e{p}", lambda: 1.0) for p in range(PARTITIONS)]
        self.nodes = [Node(self.partitions, [0] * PARTITIONS) for _ in range(nodes)]
        self.clients: list[Client] = []
        self.published: dict[str, list[bytes]] = {channel: [] for channel in CHANNELS}
        self.since: list[dict[str, int]] = []
        self.count = 0

    @rule(node=st.integers(0, 2), channels=st.sets(st.sampled_from(CHANNELS), min_size=1, max_size=4))
    def comes(self, node: int, channels: set[str]) -> None:
        """A client comes to a node that has followed everything, and hears what comes from now on."""
        chosen = self.nodes[node % len(self.nodes)]
        for partition in range(PARTITIONS):
            chosen.follow(partition, 1_000)
        names = tuple(sorted(channels))
        place = chosen.hub.places.locate(names, Now())
        assert place.cursor is not None
        self.clients.append(Client(names, place.cursor))
        self.since.append({channel: len(self.published[channel]) for channel in names})

    @rule(channel=st.sampled_from(CHANNELS), times=st.integers(1, 3))
    def publish(self, channel: str, times: int) -> None:
        for _ in range(times):
            self.count += 1
            data = b"%d" % self.count
            partition = self.nodes[0].log._numbering.partition(channel)
            self.partitions[partition].append([Draft(channel, data)])
            self.published[channel].append(data)

    @rule(node=st.integers(0, 2), partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 5))
    def follow(self, node: int, partition: int, count: int) -> None:
        self.nodes[node % len(self.nodes)].follow(partition, count)

    @rule(node=st.integers(0, 2), partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 5))
    def miss(self, node: int, partition: int, count: int) -> None:
        self.nodes[node % len(self.nodes)].miss(partition, count)

    @rule(client=st.integers(0, 50), node=st.integers(0, 2), limit=st.integers(1, 5))
    def poll(self, client: int, node: int, limit: int) -> None:
        if not self.clients:
            return
        asker = self.clients[client % len(self.clients)]
        hub = self.nodes[node % len(self.nodes)].hub
        start = after(asker.cursor, partitioned=True)
        if not hub.arrivals.knows(start):
            return  # it would wait until the node has come as far
        ask = Ask(asker.channels, start, Transport.POLLING, limit=limit)
        place, found = look(hub, ask)
        for gap in place.gaps:
            assert gap.reason is GapReason.RETENTION
            asker.gaps += 1
        told = hub.places.told(found.messages, asker.channels, place.floors)
        before = dict(_parts(asker.cursor))
        for message in told:
            asker.heard.append((message.channel, message.data))
            now = dict(_parts(cursors.of(message)))
            # Ids rise: no place goes back, and the message's own goes on.
            assert all(now[p] >= before.get(p, 0) for p in now)
            assert now != before
            before = now
        asker.cursor = hub.places.cursor(
            hub.places.end_of(asker.channels, place, found), asker.channels, place.floors
        )

    @rule(lost=st.integers(0, 2))
    def restart(self, lost: int) -> None:
        """A node begins anew, from where the partitions are kept."""
        self.nodes[lost % len(self.nodes)] = Node(
            self.partitions, [max(0, len(p.messages) - 6) for p in self.partitions]
        )

    @invariant()
    def what_was_told_is_right(self) -> None:
        for client, since in zip(self.clients, self.since, strict=True):
            for channel in client.channels:
                heard = [data for its, data in client.heard if its == channel]
                due = self.published[channel][since[channel] :]
                assert len(heard) == len(set(heard)), "a message came twice"
                if client.gaps:
                    assert heard == [data for data in due if data in heard], "the order is another"
                else:
                    assert heard == due[: len(heard)], "a message is missing, and no gap said so"


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=150, stateful_step_count=60)


def lossy_node() -> Node:
    """A node that keeps four messages a channel: two of `a` are lost, and five of `b`, which came later."""
    partitions = [ListLog("e0", lambda: 1.0)]
    node = Node(partitions, [0])
    for channel, count in (("a", 6), ("b", 9)):
        partitions[0].append([Draft(channel, b"1")] * count)
    node.follow(0, 100)
    return node


def test_of_each_channel_all_that_is_lost_is_told() -> None:
    node = lossy_node()
    place, found = look(
        node.hub, Ask(("a", "b"), after("e0-0.0", partitioned=True), Transport.POLLING, limit=9)
    )
    told = {gap.channel: gap.resumed.partitions for gap in place.gaps}
    assert told == {"a": ((0, 2),), "b": ((0, 11),)}
    assert [m.position for m in found.messages] == [3, 4, 5, 6, 12, 13, 14, 15]


def test_what_is_lost_of_a_new_life_is_told_once() -> None:
    """Who comes from a life that is over is told where it resumes, and no other gap up to there."""
    node = lossy_node()
    told = {}
    for channels in (("a",), ("b",), ("a", "b"), ("a", "c")):
        place, _ = look(
            node.hub, Ask(channels, after("over-0.7", partitioned=True), Transport.POLLING, limit=9)
        )
        told[channels] = [(gap.channel, gap.reason, gap.resumed.partitions[0][1]) for gap in place.gaps]
    epoch, retention = GapReason.EPOCH, GapReason.RETENTION
    assert told == {
        ("a",): [("a", epoch, 2)],
        ("b",): [("b", epoch, 11)],
        # Both resume at the earlier of both; what `b` lost behind that is told as it is met.
        ("a", "b"): [("a", epoch, 2), ("b", epoch, 2), ("b", retention, 11)],
        # Nothing of `c` was lost, so both resume at the beginning.
        ("a", "c"): [("a", epoch, 0), ("c", epoch, 0), ("a", retention, 2)],
    }


class Told:
    """A subscriber, and all that it was written, as _Plain renders it."""

    def __init__(self, node: Node, channels: tuple[str, ...], *, once: bool = False) -> None:
        self.text = b""
        self.subscriber = Subscriber(channels, _Plain(), self.write, once=once)
        node.hub.subscribe(self.subscriber, node.hub.places.locate(channels, Now()))

    def write(self, data: bytes | None) -> None:
        self.text += b"(ask again)" if data is None else data


class _Plain:
    """Renders a message as its data, and a gap as its channel."""

    def messages(self, ms: Sequence[Message], /) -> bytes:
        return b"".join(m.data for m in ms)

    def gaps(self, gs: Sequence[Gap], cursor: str, /) -> bytes:
        assert cursor
        return "".join(f"(gap on {gap.channel})" for gap in gs).encode()


def test_a_hole_in_one_partition_is_told_to_its_own_channels() -> None:
    """A stream was purged by hand, or trimmed faster than this node followed it."""
    partitions = [ListLog(f"e{p}", lambda: 1.0) for p in range(PARTITIONS)]
    node = Node(partitions, [0] * PARTITIONS)
    holed, whole = (next(c for c in CHANNELS if node.log._numbering.partition(c) == p) for p in (0, 1))
    for partition, channel in enumerate((holed, whole)):
        partitions[partition].append([Draft(channel, b"before")])
        node.follow(partition, 1)
    both = (holed, whole)
    asked = {
        channels: node.hub.places.locate(channels, Earliest()) for channels in ((holed,), (whole,), both)
    }
    streams = {channels: Told(node, channels) for channels in asked}
    waiting = {channels: Told(node, channels, once=True) for channels in asked}

    partitions[0].append([Draft(holed, b"missed")] * 3)
    node.miss(0, 3)
    gap = f"(gap on {holed})".encode()
    assert {c: told.text for c, told in streams.items()} == {(holed,): gap, (whole,): b"", both: gap}
    again = b"(ask again)"
    assert {c: told.text for c, told in waiting.items()} == {(holed,): again, (whole,): b"", both: again}

    for partition, channel in enumerate(both):
        partitions[partition].append([Draft(channel, b"after")])
        node.follow(partition, 1)
    assert streams[both].text == gap + b"afterafter"
    assert streams[(whole,)].text == waiting[(whole,)].text == b"after"
    # And who comes back from before it: all that is kept is still there where nothing was lost.
    for channels, due, gaps in (((whole,), [b"before", b"after"], []), ((holed,), [b"after"], [holed])):
        place = asked[channels]
        assert place.cursor is not None
        found = look(
            node.hub, Ask(channels, after(place.cursor, partitioned=True), Transport.POLLING, limit=9)
        )
        assert [m.data for m in found[1].messages] == due
        assert [gap.channel for gap in found[0].gaps] == gaps


def _parts(text: str) -> tuple[tuple[int, int], ...]:
    found = cursors.decode(text, partitioned=True)
    assert found is not None
    return found.partitions


@pytest.mark.parametrize("text", ["9f3k-1.5", "9f3k-0.0-12.99", "a-3.1-4.1-63.7"])
def test_a_place_in_partitions_is_read_and_written(text: str) -> None:
    found = cursors.decode(text, partitioned=True)
    assert found is not None
    assert cursors.encode(found) == text
    assert cursors.decode(text) is None, "where there are no partitions it is no cursor"


@pytest.mark.parametrize(
    "text", ["e-1.5-1.6", "e-2.5-1.6", "e-01.5", "e-1.05", "e-100.5", "e-1.5-", "e-.5", "e-1."]
)
def test_what_has_no_one_spelling_is_no_cursor(text: str) -> None:
    assert cursors.decode(text, partitioned=True) is None


async def test_a_receipt_names_the_place_in_its_partition() -> None:
    log = PartitionedLog([MemoryLog() for _ in range(PARTITIONS)])
    await log.open()
    receipts = await log.append([Draft(channel, b"1") for channel in CHANNELS] * 2)
    for index, receipt in enumerate(receipts):
        [(partition, _)] = receipt.cursor.partitions
        assert partition == log.numbering.partition(CHANNELS[index % 8])
    for partition in range(PARTITIONS):
        places = [r.cursor.partitions[0][1] for r in receipts if r.cursor.partitions[0][0] == partition]
        assert places == list(range(1, len(places) + 1))
    await log.close()


async def test_another_life_of_one_partition_is_another_life_of_all() -> None:
    memories = [MemoryLog() for _ in range(PARTITIONS)]
    log = PartitionedLog(memories)
    first = log.epoch
    await log.append([Draft(channel, b"1") for channel in CHANNELS])
    tail = log.follow()
    assert await anext(tail) == Life(first)
    heard: list[Message] = []
    async with asyncio.timeout(10):
        while len(heard) < len(CHANNELS):
            batch = await anext(tail)
            assert not isinstance(batch, Life | Hole)
            heard += batch
    assert [m.position for m in heard] == list(range(1, 9))
    memories[1]._epoch = "another"
    assert log.epoch != first
    assert not log.numbering.is_given(Cursor(first, 0, ((0, 99),)), 0)
    await log.close()
