"""The window of one channel, against a plain list."""

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tidings.core.message import Message
from tidings.core.window import Window


class WindowAgainstList(RuleBasedStateMachine):
    """Appends and drops in any order; what is read is what a list would give."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window()
        self.model: list[Message] = []
        self.lost_through = 0
        self.position = 0

    @rule(step=st.integers(1, 5), times=st.integers(1, 20))
    def append(self, step: int, times: int) -> None:
        for _ in range(times):
            self.position += step
            message = Message("e", self.position, "c", self.position * 10, b"1")
            self.window.append(message)
            self.model.append(message)

    @precondition(lambda self: self.model)
    @rule(times=st.integers(1, 20))
    def drop(self, times: int) -> None:
        for _ in range(min(times, len(self.model))):
            dropped = self.model.pop(0)
            assert self.window.drop_oldest() is dropped
            self.lost_through = dropped.position

    @rule(position=st.integers(0, 300), limit=st.integers(1, 30))
    def after(self, position: int, limit: int) -> None:
        expected = [m for m in self.model if m.position > position][:limit]
        assert self.window.after(position, limit) == expected

    @rule(count=st.integers(0, 30))
    def last_ones(self, count: int) -> None:
        expected = self.model[len(self.model) - min(count, len(self.model)) :]
        assert self.window.last_ones(count) == expected

    @rule(time_ms=st.integers(0, 3000))
    def since(self, time_ms: int) -> None:
        assert self.window.since(time_ms) == [m for m in self.model if m.time_ms >= time_ms]

    @invariant()
    def agrees(self) -> None:
        assert len(self.window) == len(self.model)
        assert self.window.lost_through == self.lost_through
        assert self.window.last == (self.model[-1].position if self.model else self.lost_through)


TestWindowAgainstList = WindowAgainstList.TestCase


def test_dropped_messages_are_not_kept_alive() -> None:
    import weakref

    class Watched(Message):
        __slots__ = ("__weakref__",)

    window = Window()
    messages = [Watched("e", position, "c", 0, b"1") for position in range(1, 9)]
    watched = [weakref.ref(m) for m in messages]
    for message in messages:
        window.append(message)
    del messages, message
    for _ in range(8):
        window.drop_oldest()
    assert [ref() for ref in watched] == [None] * 8
