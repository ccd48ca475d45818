"""The verdict can be bad: whatever a listener must not do is said of one that does it."""

from collections.abc import Sequence

import pytest

from roads.book import Heard, judge, table

PUBLISHED = [f"e-{n}" for n in range(1, 8)]


def heard(
    ids: list[int], first: float | None = 0.5, gaps: Sequence[str] = (), troubles: Sequence[str] = ()
) -> Heard:
    told = [f"e-{n}" for n in ids]
    return Heard("a road", "python", first, told, gaps=list(gaps), troubles=list(troubles))


def test_everything_from_the_first_message_on_is_right() -> None:
    assert judge(PUBLISHED, heard([3, 4, 5, 6, 7])).faults == []


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (heard([2, 3, 5, 6, 7]), "lost 1 messages: e-4"),
        (heard([2, 3, 4, 5, 6]), "lost 1 messages: e-7"),
        (heard([4, 5, 6, 6, 7]), "repeated 1 messages: e-6"),
        (heard([4, 6, 5, 7]), "out of order"),
        (heard([5, 4, 6, 7]), "out of order"),
        (heard([1, 2, 3, 4, 5, 6, 7], first=5.1), "first message after 5.1 s"),
        (heard([], first=None), "never showed a message"),
        (heard([6, 7], gaps=["retention"]), "told of gaps"),
        (heard([6, 7], troubles=["it broke"]), "it broke"),
    ],
)
def test_what_is_wrong_is_said(told: Heard, fault: str) -> None:
    assert any(fault in one for one in judge(PUBLISHED, told).faults)


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        ([("e-8", 0)], "published 2, and the log has [0]"),
        ([("e-8", 0), ("e-9", 1), ("e-10", 1)], "the log has [0, 1, 1]"),
        ([("e-8", 1), ("e-9", 0)], "the log has [1, 0]"),
        ([("e-8", 0), ("e-10", 1)], "other ids"),
    ],
)
def test_what_a_listener_published_is_in_the_log_once_and_in_order(
    kept: list[tuple[str, int]], fault: str
) -> None:
    told = heard([6, 7])
    told.sent = ["e-8", "e-9"]
    assert judge(PUBLISHED, told, [("e-8", 0), ("e-9", 1)]).faults == []
    assert any(fault in one for one in judge(PUBLISHED, told, kept).faults)


def test_a_message_that_nobody_published_is_no_small_matter() -> None:
    with pytest.raises(AssertionError, match="nobody published"):
        judge(PUBLISHED, heard([8]))


def test_the_table_shows_what_was_lost_and_each_change_of_transport_once() -> None:
    told = heard([1, 2, 4])
    told.transports, told.connections = ["websocket", "websocket", "sse"], 3
    line = table([judge(PUBLISHED, told)]).splitlines()[1].split()
    assert " ".join(line) == "a road python websocket → sse 0.50 s 3 4 0 2 0"
