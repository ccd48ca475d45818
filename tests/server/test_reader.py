"""Requests out of bytes: what one request is, and what is left for the next."""

import pytest

from raw import head_of
from tidings.server.reader import Questions, RequestReader
from tidings.wire.http import Request

CHUNKED = {"Transfer-Encoding": "chunked", "Content-Type": "text/plain"}


@pytest.mark.parametrize(
    ("one", "what"),
    [
        (head_of("POST", "/channels/a", body=b"1234") + b"1234", "a body"),
        (head_of("POST", "/channels/a", body=b"1\r\n\r\n2") + b"1\r\n\r\n2", "a body that looks like heads"),
        (head_of("POST", "/channels/a", CHUNKED) + b"2\r\nhi\r\n0\r\n\r\n", "chunks"),
        (head_of("POST", "/channels/a", CHUNKED) + b"2\r\nhi\r\n0\r\nX: y\r\n\r\n", "chunks and a trailer"),
        (head_of("GET", "/channels/a?x=1"), "no body"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_nothing_is_read_behind_a_request_that_must_wait(one: bytes, what: str, size: int) -> None:
    """An append that is not answered at once holds the connection; the next request is not its reader's."""
    taken: list[Request] = []

    def accept(request: Request) -> bool:
        taken.append(request)
        return False

    for _ in range(3):  # the second time its header section is known
        taken.clear()
        rest = one * 3
        answered = 0
        while rest:
            reader = RequestReader(accept, lambda _: None, Questions())
            data, rest = rest, b""
            for at in range(0, len(data), size):
                left = reader.feed(data[at : at + size])
                if len(taken) > answered:
                    answered += 1
                    rest = left + data[at + size :]
                    break
        assert len(taken) == 3, what
        assert {(r.method, r.path, bytes(r.body)) for r in taken} == {
            (taken[0].method, "/channels/a", bytes(taken[0].body))
        }
