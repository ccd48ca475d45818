"""One node's line over several partitions, held against a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.logs.partitions import line as lines
from tidings.logs.partitions.line import Line

# (partition, by how much its position rises)
ADDED = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=60)


def lined_up(added: list[tuple[int, int]], begins: list[int]) -> tuple[Line, list[tuple[int, int]]]:
    """Return the line, and what stands at each of its positions."""
    line, now = Line(3), list(begins)
    said: list[tuple[int, int]] = []
    line.begin(begins)
    for partition, step in added:
        now[partition] += step
        assert line.add(partition, now[partition]) == len(said) + 1
        said.append((partition, now[partition]))
    return line, said


@given(ADDED, st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_both_ways_agree_with_a_list(added: list[tuple[int, int]], begins: list[int]) -> None:
    line, said = lined_up(added, begins)
    assert line.end == len(said)
    for partition in range(3):
        for on_line in range(len(said) + 1):
            before = [p for its, p in said[:on_line] if its == partition]
            assert line.position_in(partition, on_line) == (before[-1] if before else begins[partition])
        for position in range(begins[partition], line.followed[partition] + 2):
            had = [i for i, (its, p) in enumerate(said, 1) if its == partition and p <= position]
            found = line.find(partition, position)
            # It stands behind all that is had, and before the partition's next.
            ahead = [i for i, (its, p) in enumerate(said, 1) if its == partition and p > position]
            assert max(had, default=0) <= found
            assert found < min(ahead, default=len(said) + 1)


@given(ADDED)
def test_a_message_stands_where_it_was_put(added: list[tuple[int, int]]) -> None:
    line, said = lined_up(added, [0, 0, 0])
    for on_line, (partition, position) in enumerate(said, 1):
        assert line.find(partition, position) == on_line
        assert line.position_in(partition, on_line) == position


def test_the_oldest_is_forgotten_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_MOST_RUNS", 10)
    line = Line(2)
    for number in range(1, 101):
        line.add(0, number)
        line.add(1, number)
    known = line.known_from(0)
    assert 80 < known < 100
    for position in range(known, 101):
        assert line.find(0, position) == max(2 * position - 1, line.find(0, known))
    # Whoever was before it is put before the first that is known.
    assert line.find(0, 3) == line.find(0, known)
    assert line.find(0, 3) < 2 * (known + 1) - 1


def test_a_run_of_one_partition_is_one_entry() -> None:
    line = Line(2)
    for number in range(1, 10_001):
        line.add(number > 5_000, number)
    assert sum(len(runs.lengths) for runs in line._runs) == 2
