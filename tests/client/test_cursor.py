"""A client's cursor of a log with partitions: whatever comes again, in whatever interleaving, is taken once.

The single cases are vectors (tests/spec/test_vectors.py); here chance draws how a client is told.
"""

from hypothesis import given
from hypothesis import strategies as st

from tidings.client.cursor import further, had
from tidings.client.items import Message, Reached
from tidings.client.place import Place

PARTITIONS = (0, 1, 4)


def text(positions: list[int]) -> str:
    return "e" + "".join(f"-{at}.{position}" for at, position in zip(PARTITIONS, positions, strict=True))


def positions_of(cursor: str | None) -> list[int]:
    assert cursor is not None
    return [int(place.split(".")[1]) for place in cursor.split("-")[1:]]


@given(st.data())
def test_what_is_told_again_in_another_interleaving_is_taken_exactly_once(data: st.DataObject) -> None:
    most = [data.draw(st.integers(1, 5)) for _ in PARTITIONS]
    place = Place(text([0, 0, 0]))
    taken: list[tuple[int, int]] = []

    def tell(at: list[int], which: int) -> None:
        at[which] += 1
        message = Message(text(at), f"of-{which}", 0, None, None, b"1", b"{}")
        if place.take(message) is not None:
            taken.append((which, at[which]))

    for _ in range(data.draw(st.integers(1, 6))):
        # A connection begins at the cursor, or before it: an answer was lost, or two connections overlap.
        at = [data.draw(st.integers(0, position)) for position in positions_of(place.cursor)]
        for which in data.draw(st.lists(st.integers(0, 2), max_size=12)):
            if at[which] < most[which]:
                tell(at, which)
    # The last is not cut.
    at = positions_of(place.cursor)
    for which, bound in enumerate(most):
        while at[which] < bound:
            tell(at, which)

    assert len(set(taken)) == len(taken)
    for which, bound in enumerate(most):
        assert [n for of, n in taken if of == which] == list(range(1, bound + 1))


@given(
    st.lists(st.integers(0, 30), min_size=3, max_size=3), st.lists(st.integers(0, 30), min_size=3, max_size=3)
)
def test_behind_a_message_it_was_had_and_so_was_all_before(one: list[int], other: list[int]) -> None:
    joined = further(text(one), text(other))
    assert had(joined, text(one))
    assert had(joined, text(other))
    assert joined == further(text(other), text(one))


def test_an_answers_cursor_that_is_behind_in_one_partition_takes_nothing_back() -> None:
    place = Place("e-0.10-1.5")
    place.take(Reached("e-0.8-1.7"))
    assert place.cursor == "e-0.10-1.7"
