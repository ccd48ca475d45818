"""The windows of all channels, against a plain list of everything that was ever published."""

from collections.abc import Iterable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tidings.core.history import History, Retention
from tidings.core.message import Message

CHANNELS = ["a", "b", "c", "d"]
PARTITION = {"a": 0, "b": 0, "c": 1, "d": 1}
COUNT, AGE, MARKS = 4, 10.0, 2
WEIGHT = Message("e", 1, "a", 0, b"123").weight
BYTES = 9 * WEIGHT


class HistoryAgainstList(RuleBasedStateMachine):
    """Every bound of the retention is at work; the model applies them one by one in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History(Retention(COUNT, AGE, BYTES, MARKS), PARTITION.__getitem__)
        self.kept: list[Message] = []
        self.lost: dict[str, int] = dict.fromkeys(CHANNELS, 0)
        self.position = 0
        self.now_ms = 0

    def _lose(self, message: Message) -> None:
        self.kept.remove(message)
        self.lost[message.channel] = message.position

    @rule(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=12))
    def publish(self, channels: list[str]) -> None:
        for channel in channels:
            self.position += 1
            message = Message("e", self.position, channel, self.now_ms, b"123")
            self.history.append(message)
            self.kept.append(message)
            same = [m for m in self.kept if m.channel == channel]
            if len(same) > COUNT:
                self._lose(same[0])
            while len(self.kept) * WEIGHT > BYTES:
                self._lose(self.kept[0])

    @rule(seconds=st.integers(1, 15))
    def time_goes_by(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        self.history.trim(self.now_ms)
        for message in [m for m in self.kept if m.time_ms < self.now_ms - AGE * 1000]:
            self._lose(message)

    @rule(partition=st.integers(0, 1), missed=st.integers(0, 3))
    def lose(self, partition: int, missed: int) -> None:
        """A follower was away: what it has of a partition, and some that it never had, is gone."""
        self.position += missed
        others = {c: self.history.lost_through(c) for c in CHANNELS if PARTITION[c] != partition}
        self.history.lose(self.position, partition)
        self.kept = [m for m in self.kept if m.channel in others]
        self.lost |= {c: self.position for c in CHANNELS if c not in others}
        assert {c: self.history.lost_through(c) for c in others} == others, "a loss of another partition"

    @rule(
        channels=st.sets(st.sampled_from(CHANNELS), min_size=1),
        after=st.integers(0, 60),
        limit=st.integers(1, 12),
        floors=st.dictionaries(st.sampled_from(CHANNELS), st.integers(0, 60)),
    )
    def read(self, channels: set[str], after: int, limit: int, floors: dict[str, int]) -> None:
        found = self.history.read(sorted(channels), after, limit=limit, most_bytes=10**9, floors=floors)
        starts = {c: max(after, floors.get(c, 0)) for c in channels}
        expected = [m for m in self.kept if m.channel in channels and m.position > starts[m.channel]]
        assert found.messages == expected[:limit]
        assert found.more == (len(expected) > limit)
        told = {loss.channel: loss for loss in found.losses}
        for channel in channels:
            if self.lost[channel] > starts[channel]:
                assert told[channel].after == starts[channel]
                assert told[channel].resumed >= self.lost[channel], "a loss that is not told"
        # A loss may be told where nothing was missed, but nothing that is kept may be passed over by it.
        for loss in told.values():
            assert all(m.position > loss.resumed for m in self.kept if m.channel == loss.channel)

    @rule(channels=st.sets(st.sampled_from(CHANNELS), min_size=1), count=st.integers(1, 12))
    def rewind(self, channels: set[str], count: int) -> None:
        position = self.history.before_last(sorted(channels), count)
        kept = [m for m in self.kept if m.channel in channels]
        assert [m for m in kept if m.position > position] == kept[-count:]

    @rule(channels=st.sets(st.sampled_from(CHANNELS), min_size=1), seconds=st.integers(0, 12))
    def rewind_time(self, channels: set[str], seconds: int) -> None:
        since = self.now_ms - seconds * 1000
        position = self.history.before_time(sorted(channels), since)
        kept = [m for m in self.kept if m.channel in channels]
        assert [m for m in kept if m.position > position] == [m for m in kept if m.time_ms >= since]

    @rule(channels=st.sets(st.sampled_from(CHANNELS), min_size=1))
    def tail(self, channels: set[str]) -> None:
        tail = self.history.tail(sorted(channels))
        assert all(m.position <= tail for m in self.kept if m.channel in channels)
        assert all(self.lost[c] <= tail for c in channels)
        assert tail <= self.position

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.history) == len(self.kept)
        assert self.history.weight == len(self.kept) * WEIGHT
        assert self.history.channels == len({m.channel for m in self.kept})

    @invariant()
    def nothing_is_forgotten_silently(self) -> None:
        assert all(self.history.lost_through(c) >= self.lost[c] for c in CHANNELS)


HistoryAgainstList.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestHistoryAgainstList = HistoryAgainstList.TestCase


def _positions(messages: Iterable[Message]) -> list[int]:
    return [m.position for m in messages]


def test_an_answer_is_cut_by_bytes_but_holds_at_least_one_message() -> None:
    history = History()
    for position in range(1, 6):
        history.append(Message("e", position, "a", 0, b"x" * 100))
    assert _positions(history.read(["a"], 0, limit=10, most_bytes=250).messages) == [1, 2]
    one = history.read(["a"], 0, limit=10, most_bytes=10)
    assert _positions(one.messages) == [1]
    assert one.more
    assert not history.read(["a"], 3, limit=2, most_bytes=250).more


def test_a_million_channels_that_come_and_go_leave_a_bounded_number_of_marks() -> None:
    history = History(Retention(age=1.0, marks=100))
    for position in range(1, 5001):
        history.append(Message("e", position, f"c{position}", position, b"1"))
        history.trim(position + 2000)
    assert history.channels == 0
    assert len(history._marks) == 100
    # The channel that was forgotten first is covered by the one mark that stands for all.
    assert history.lost_through("c1") == 4900
    assert history.lost_through("c5000") == 5000
