"""The checker itself: what keeps every promise passes, and each broken promise is found by its name."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from exactness.book import Book, Sent, Session, checksum
from exactness.checker import Retention, check

NOW_MS = 1_764_000_000_000


@dataclass
class Story:
    """A small run: one publisher, one subscriber. Positions 1, 3, 5 … are on `a`, the others on `b`."""

    book: Book = field(default_factory=Book)
    serial: int = 0

    def life(self, epoch: str, count: int) -> None:
        """A life of the server with `count` messages, all acknowledged and heard by the truth."""
        self.book.epochs.append(epoch)
        self.book.truth[epoch] = []
        for position in range(1, count + 1):
            self.publish(epoch, position)

    def publish(self, epoch: str, position: int) -> None:
        """One message, as everyone knows it."""
        text = self.text(epoch, position)
        channel = "ab"[(position + 1) % 2]
        number = len(self.book.sent) + 1
        self.book.saw(text, "the truth")
        self.book.truth[epoch].append(position)
        data = text[text.index(b'"data":') + 7 : -1]
        sent = Sent("p", number, (channel,), hash(data), f"k{number}", attempts=1)
        at = 1000.0 + number
        sent.acks.append(({channel: f"{epoch}-{position}"}, False, at, at + 0.5))
        self.book.sent["p", number] = sent

    def text(self, epoch: str, position: int) -> bytes:
        """The JSON of the message that stands there."""
        number = len(self.book.sent) + 1
        channel = "ab"[(position + 1) % 2]
        data = f'{{"p":"p","n":{number},"pad":"","sum":{checksum("p", number, "")}}}'
        identity = f"{epoch}-{position}"
        return (
            f'{{"id":"{identity}","channel":"{channel}","time":{NOW_MS + position},"data":{data}}}'.encode()
        )

    def hears(
        self, *events: tuple[Any, ...], after: str | None = None, channels: str = "ab", how: str = "sse"
    ) -> None:
        """One connection of the subscriber."""
        self.serial += 1
        session = Session("s", self.serial, how, "straight", tuple(channels), after, "", time.time())
        session.events += events
        self.book.session(session)

    @property
    def faults(self) -> list[str]:
        """What the checker says; five messages a channel are kept, for an hour."""
        return check(self.book, Retention(5, 3600))


def m(epoch: str, *positions: int) -> list[tuple[Any, ...]]:
    """Messages that came."""
    return [("message", f"{epoch}-{p}", "ab"[(p + 1) % 2]) for p in positions]


def gap(channel: str, after: str, resumed: str, reason: str) -> tuple[Any, ...]:
    """A gap that was told."""
    return ("gap", channel, after, resumed, reason, NOW_MS + 1000)


@pytest.fixture
def story() -> Story:
    """Two lives: twelve messages in `x`, six in `y`."""
    told = Story()
    told.life("x", 12)
    told.life("y", 6)
    return told


def test_a_run_that_keeps_every_promise_passes(story: Story) -> None:
    story.hears(("ready", "x-2", ("a", "b")), *m("x", 3, 4, 5), ("cut", ""))
    story.hears(("ready", "x-5", ("a", "b")), *m("x", 6, 7, 8), ("left",), after="x-5", how="websocket")
    story.hears(
        ("ask", "x-8", None), *m("x", 9, 10), ("answer", "x-10", True, NOW_MS),
        ("ask", "x-10", None), ("same",), after="x-8", how="polling",
    )  # fmt: skip
    story.hears(
        ("ready", "x-10", ("a", "b")),
        gap("a", "x-10", "y-0", "epoch"), gap("b", "x-10", "y-0", "epoch"), *m("y", 1, 2, 3), ("cut", ""),
        after="x-10",
    )  # fmt: skip
    story.hears(
        ("ready", "y-3", ("a",)), *m("y", 5), ("subscribe", 1, ("b",), {"after": "y-2"}),
        ("ok", 1, ("a", "b"), "y-2", NOW_MS), *m("y", 4, 6), ("left",), after="y-3", channels="a",
    )  # fmt: skip
    assert story.faults == []


def test_a_gap_of_what_was_lost_passes(story: Story) -> None:
    story.hears(
        ("ready", "x-0", ("a",)), gap("a", "x-0", "x-1", "retention"), *m("x", 3, 5, 7, 9, 11), ("left",),
        after="x-0", channels="a",
    )  # fmt: skip
    assert story.faults == []


@pytest.mark.parametrize(("age", "passes"), [(0.5, True), (3600.0, False)])
def test_a_gap_that_hides_nothing_passes_only_where_the_log_may_begin_there(
    story: Story, *, age: float, passes: bool
) -> None:
    # `b` has nothing at 1; the gap reaches up to there, as `a` lost it.
    story.hears(
        ("ready", "x-0", ("b",)), gap("b", "x-0", "x-1", "retention"), *m("x", 2), after="x-0", channels="b"
    )
    faults = check(story.book, Retention(5, age, cut=True))
    assert (faults == []) is passes, faults
    assert check(story.book, Retention(5, age)), (
        "without cuts at the beginning it hides nothing, and is a fault"
    )


def one_connection(
    *events: tuple[Any, ...], after: str | None = None, **more: str
) -> Callable[[Story], None]:
    return lambda story: story.hears(*events, ("left",), after=after, **more)


READY = ("ready", "x-2", ("a", "b"))
BROKEN: dict[str, tuple[Callable[[Story], None], str]] = {
    "a message is left out": (one_connection(READY, *m("x", 3, 5)), "a hole on b: x-(4)"),
    "a message is left out before a cut": (one_connection(READY, *m("x", 3, 6)), "a hole on"),
    "a message comes twice": (one_connection(READY, *m("x", 3, 4, 4)), "nothing comes twice"),
    "two messages change places": (one_connection(READY, *m("x", 4, 3)), "ids rise"),
    "a message of before comes again": (one_connection(READY, *m("x", 2)), "nothing comes twice"),
    "a channel that was not asked for": (
        one_connection(("ready", "x-2", ("a",)), *m("x", 3, 4), channels="a"),
        "not asked for",
    ),
    "a new life is not told": (
        one_connection(("ready", "x-12", ("a", "b")), *m("y", 1), after="x-12"),
        "no gap told of the epoch",
    ),
    "a new life is told of one channel only": (
        one_connection(
            ("ready", "x-12", ("a", "b")), gap("a", "x-12", "y-0", "epoch"), *m("y", 1, 2), after="x-12"
        ),
        "no gap told of the epoch",
    ),
    "an old life comes back": (
        one_connection(("ready", "y-2", ("a", "b")), *m("x", 3), after="y-2"),
        "no gap told of the epoch",
    ),
    "a gap hides what is kept": (
        one_connection(
            ("ready", "x-2", ("a",)), gap("a", "x-2", "x-5", "retention"), *m("x", 7), after="x-2",
            channels="a",
        ),
        "kept ones",
    ),
    "a gap where nothing is missing": (
        one_connection(
            ("ready", "x-3", ("a",)), gap("a", "x-3", "x-4", "retention"), *m("x", 5), after="x-3",
            channels="a",
        ),
        "nothing of a is between",
    ),
    "a gap of a life that did not change": (
        one_connection(("ready", "x-3", ("a",)), gap("a", "x-3", "x-0", "epoch"), after="x-3", channels="a"),
        "a new epoch is told",
    ),
    "a gap of the future": (
        one_connection(("ready", "x-3", ("a",)), gap("a", "x-3", "x-0", "ahead"), after="x-3", channels="a"),
        "the reason ahead",
    ),
    "a poll's cursor runs ahead": (
        one_connection(
            ("ask", "x-2", None), *m("x", 3), ("answer", "x-4", False, NOW_MS), after="x-2", how="polling"
        ),
        "the answer's cursor is x-4",
    ),
    "an empty poll's cursor runs ahead": (
        one_connection(("ask", "x-2", None), ("answer", "x-4", False, NOW_MS), after="x-2", how="polling"),
        "a hole on",
    ),
    "a poll's cursor falls behind": (
        one_connection(("ask", "x-6", None), ("answer", "x-3", False, NOW_MS), after="x-6", how="polling"),
        "stands before messages",
    ),
    "a poll brings more than its limit": (
        one_connection(
            ("ask", "x-2", 1), *m("x", 3, 4), ("answer", "x-4", False, NOW_MS), after="x-2", how="polling"
        ),
        "1 were asked for",
    ),
    "ready stands elsewhere": (
        one_connection(("ready", "x-3", ("a", "b")), after="x-2"),
        "to a client that came with",
    ),
    "an ok hides messages": (
        one_connection(
            ("ready", "x-1", ("a",)), ("subscribe", 1, ("b",), {}), ("ok", 1, ("a", "b"), "x-4", NOW_MS),
            *m("x", 5), after="x-1", channels="a",
        ),
        "a hole on a",
    ),
    "what a later subscribe asked back for does not come": (
        one_connection(
            ("ready", "x-5", ("a",)), ("subscribe", 1, ("b",), {"after": "x-2"}),
            ("ok", 1, ("a", "b"), "x-2", NOW_MS), *m("x", 6, 7), after="x-5", channels="a",
        ),
        "a hole on b: x-(4)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_to_a_subscriber_is_found(story: Story, name: str) -> None:
    breaks, words = BROKEN[name]
    breaks(story)
    assert any(words in fault for fault in story.faults), story.faults


def test_a_hole_over_two_connections_is_found(story: Story) -> None:
    story.hears(READY, *m("x", 3, 4), ("cut", ""))
    story.hears(("ready", "x-6", ("a", "b")), *m("x", 7, 8), ("left",), after="x-6")
    assert any("a hole on" in fault for fault in story.faults), story.faults


def test_another_text_under_one_id_is_found(story: Story) -> None:
    story.book.saw(story.text("x", 3), "s")
    assert any("another text under x-3" in fault for fault in story.faults), story.faults


def test_what_was_acknowledged_and_is_not_in_the_log_is_found(story: Story) -> None:
    del story.book.entries["x-3"]
    story.book.truth["x"].remove(3)
    assert any("is not in the log" in fault for fault in story.faults), story.faults


def test_what_the_undisturbed_subscriber_was_not_sent_is_found(story: Story) -> None:
    story.book.truth["x"].remove(3)
    assert any("never sent to the undisturbed subscriber" in fault for fault in story.faults), story.faults


@pytest.mark.parametrize(
    ("after", "resumed", "passes"),
    [("x-0", "x-1", True), ("x-0", "x-3", False), ("x-2", "x-2", False)],
    ids=["five are newer", "four are newer", "nothing is lost"],
)
def test_the_undisturbed_subscriber_may_lose_what_a_burst_has_pushed_out_and_no_more(
    story: Story, *, after: str, resumed: str, passes: bool
) -> None:
    told = {"channel": "a", "after": after, "resumed": resumed, "reason": "retention"}
    story.book.pushed_out.append((told, NOW_MS + 1000))
    assert (story.faults == []) is passes, story.faults


def test_one_key_with_two_messages_is_found(story: Story) -> None:
    data = 'n":1,"pad":"","sum":' + str(checksum("p", 1, ""))
    story.book.saw(
        f'{{"id":"x-13","channel":"a","time":{NOW_MS},"data":{{"p":"p","{data}}}}}'.encode(), "the truth"
    )
    assert any("stands twice" in fault for fault in story.faults), story.faults


def test_a_publisher_out_of_order_is_found(story: Story) -> None:
    first, second = story.book.sent["p", 1], story.book.sent["p", 3]
    first.acks, second.acks = second.acks, first.acks
    one, three = story.book.entries["x-1"], story.book.entries["x-3"]
    one.number, three.number, one.data, three.data = three.number, one.number, three.data, one.data
    assert any("sent 1 before" in fault for fault in story.faults), story.faults


def test_what_nobody_published_is_found(story: Story) -> None:
    story.book.saw(b'{"id":"x-13","channel":"a","time":1,"data":"boo"}', "s")
    assert any("nobody published" in fault for fault in story.faults), story.faults


def test_a_wrong_acknowledgement_is_found(story: Story) -> None:
    sent = story.book.sent["p", 1]
    sent.acks[0] = ({"a": "x-5"}, *sent.acks[0][1:])
    assert any("p 1, acknowledged as x-5" in fault for fault in story.faults), story.faults


@pytest.mark.parametrize(
    ("channels", "attempts", "found"), [("a", 2, True), ("ab", 1, True), ("ab", 2, False)]
)
def test_what_was_sent_after_an_answer_and_stands_before_it_is_found(
    story: Story, channels: str, attempts: int, found: bool
) -> None:
    """But on several channels: the first try may have reached some of them."""
    sent = story.book.sent["p", 1]
    sent.channels, sent.attempts = tuple(channels), attempts
    sent.acks[0] = (sent.acks[0][0], False, 2000.0, 2000.5)
    assert any("p 1 was sent after" in fault for fault in story.faults) == found, story.faults
