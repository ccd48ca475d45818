"""Records that a log keeps where others can write, too."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.core.limits import LOG_RECORD_BYTES
from tidings.core.message import Draft
from tidings.wire import record


@pytest.mark.parametrize(
    "draft",
    [Draft("news", b"1"), Draft("a.b", b'{"x": 1.50,\n"y":"\xc3\xa9"}', event="price", key='"k\\')],
)
def test_what_is_packed_is_unpacked(draft: Draft) -> None:
    assert record.unpack(record.pack(draft)) == draft


def packed(*fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\xc1",
        b"hello",
        packed(2, "news", None, None, b"1"),
        packed(1, "news", None, None),
        packed(1, "news", None, None, b"1", b"more"),
        packed(1, 7, None, None, b"1"),
        packed(1, "no spaces", None, None, b"1"),
        packed(1, "news", "two\nlines", None, b"1"),
        packed(1, "news", "ready", None, b"1"),
        packed(1, "news", None, "\0", b"1"),
        packed(1, "news", None, None, b"{"),
        packed(1, "news", None, None, b'"\xff"'),
        packed(1, "news", None, None, b"1} \n\nevent: end"),
        b"\x91" * 5_000,
        record.pack(Draft("news", b'"' + b"x" * LOG_RECORD_BYTES + b'"')),
    ],
)
def test_what_is_not_ours_is_refused(foreign: bytes) -> None:
    with pytest.raises(record.BadRecord):
        record.unpack(foreign)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(foreign: bytes) -> None:
    with contextlib.suppress(record.BadRecord):
        record.unpack(foreign)
