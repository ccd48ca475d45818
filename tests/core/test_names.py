"""Names, events and keys: what is let in, and what is said of the rest."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tidings.core.errors import Refusal
from tidings.core.names import check_channel, check_event, check_key, split_channels

GOOD = st.text("ABCXYZabcxyz0189._~:-", min_size=1, max_size=200)


@given(GOOD)
def test_a_good_name_is_let_in_as_it_is(name: str) -> None:
    assert check_channel(name) == name


@given(st.text(max_size=300).filter(lambda name: re.fullmatch(r"[A-Za-z0-9._~:-]{1,200}", name) is None))
def test_a_refused_name_is_told_back_in_printable_ascii(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_channel(name)
    assert caught.value.kind.code == "bad_channel"
    assert all(" " <= c <= "~" for c in caught.value.detail)
    assert len(caught.value.detail) < 500


@pytest.mark.parametrize("name", ["", "a b", "a\n", "a/b", "a*", "ä", "a" * 201, "a\0", "a,b", "%61"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Refusal):
        check_channel(name)


def test_a_list_of_names_is_sorted_and_each_once() -> None:
    assert split_channels("b,a,b", 128) == ("a", "b")


@pytest.mark.parametrize(
    ("names", "code"),
    [("a,,b", "bad_channel"), (",", "bad_channel"), (",".join("a" * 129), "too_many_channels")],
)
def test_bad_lists(names: str, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        split_channels(names, 128)
    assert caught.value.kind.code == code


@pytest.mark.parametrize("event", ["ready", "gap", "advice", "end", "a b", "", "x" * 65, "a\r"])
def test_bad_events(event: str) -> None:
    with pytest.raises(Refusal):
        check_event(event)


@pytest.mark.parametrize("key", ["", " ", "ä", "x" * 201, "a\n"])
def test_bad_keys(key: str) -> None:
    with pytest.raises(Refusal):
        check_key(key)


def test_a_key_may_hold_any_visible_ascii_character() -> None:
    assert check_key('a"\\b{}') == 'a"\\b{}'
