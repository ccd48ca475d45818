"""Reading the server's JSON."""

import pytest

from tidings.client import BadAnswer
from tidings.client.items import (
    Advice,
    Answer,
    Gap,
    Message,
    Reached,
    read,
    read_gap,
    read_message,
    read_ready,
)

MESSAGE = b'{"id":"e-2","channel":"news","time":1764000000000,"event":"x","key":"k","data":{"n" : 1.0}}'


def test_a_message_keeps_its_bytes() -> None:
    message = read_message(MESSAGE)
    assert (message.id, message.channel, message.time_ms) == ("e-2", "news", 1764000000000)
    assert (message.event, message.key) == ("x", "k")
    assert message.json == MESSAGE
    assert message.data_json == b'{"n" : 1.0}'
    assert message.data == {"n": 1.0}


def test_data_of_null_is_data() -> None:
    message = read_message(b'{"id":"e-2","channel":"c","time":1,"data":null}')
    assert message.data is None
    assert message.data_json == b"null"


def test_an_answer_tells_gaps_before_messages_and_where_it_ends() -> None:
    gap = b'{"channel":"news","after":"e-0","resumed":"e-1","reason":"retention"}'
    text = b'{"messages":[%b],"cursor":"e-9","gap":[%b],"more":true,"advice":{"poll_ms":500}}' % (
        MESSAGE,
        gap,
    )
    answer = read(text, Answer)
    assert answer.more
    assert answer.signs() == [
        Advice(poll_ms=500),
        Gap("news", "e-0", "e-1", "retention"),
        read_message(MESSAGE),
        Reached("e-9"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"id":1,"channel":"c","time":1,"data":1}',
        b'{"id":"e-1","channel":"c","time":1}',
        b'{"id":"e-1","channel":"c","time":"now","data":1}',
        b'{"id":"\xff","channel":"c","time":1,"data":1}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_a_bad_answer(text: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_message(text)


def test_members_that_are_not_known_are_let_pass() -> None:
    assert isinstance(read_message(MESSAGE[:-1] + b',"later":{"x":1}}'), Message)
    assert read_ready(b'{"cursor":"e-1","channels":["c"],"later":1}').cursor == "e-1"
    assert read_gap(b'{"channel":"c","resumed":"e-1","reason":"new","later":1}').reason == "new"
