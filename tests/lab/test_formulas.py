"""The formulas against figures that were worked out apart, and against each other."""

import math

import pytest

from tidings.lab.formulas import Prediction, deviation, long_polling, polling, stream
from tidings.lab.load import Load
from tidings.lab.sizes import Polls, Stream

# Heads as a browser and a plain server have them: 708 bytes up; 129 down where there is nothing (204), 174
# with something (200). A message of 100 bytes, with nothing around it.
REQUEST, NOTHING, SOMETHING = 708, 129, 174


class Plain(Polls):
    """Answers of a server that says 204 where there is nothing."""

    def answer(self, messages: int) -> float:
        return SOMETHING + messages * self.message if messages else NOTHING


POLLS = Plain(request=REQUEST, head=0, envelope=0, message=100, separator=0)
# An event is 21 to 42 bytes more than its message, and a comment of 9 bytes comes every 15 seconds.
SHORT_EVENT = Stream(opening_up=0, opening_down=0, message=121, idle_down=9 / 15)
LONG_EVENT = Stream(opening_up=0, opening_down=0, message=142, idle_down=9 / 15)
# A frame's head is 2 bytes, and every 25 seconds a ping of 2 is answered by a pong of 6.
SOCKET = Stream(opening_up=0, opening_down=0, message=102, idle_up=6 / 25, idle_down=2 / 25)


def load(rate: float, interval: float = 1.0) -> Load:
    return Load(rate=rate, interval=interval, wait=30.0, rtt=0.05, seconds=1e9, size=100)


@pytest.mark.parametrize(
    ("rate", "each_second", "each_five", "empty", "empty_five", "hanging", "event", "frame"),
    [
        (1 / 60, 50_400, 10_200, 0.983, 0.920, 2_300, (157, 178), 121),
        (0.1, 8_500, 1_800, 0.905, 0.607, 1_026, (127, 148), 105),
        (1.0, 965, 276, 0.368, 0.007, 981, (122, 143), 102),
        (10.0, 188, 118, 0.0, 0.0, 891, (121, 142), 102),
    ],
)
def test_bytes_of_a_message_are_those_that_were_worked_out_for_plain_heads(
    rate: float,
    each_second: float,
    each_five: float,
    empty: float,
    empty_five: float,
    hanging: float,
    event: tuple[float, float],
    frame: float,
) -> None:
    def total(of: Prediction) -> float:
        return of.bytes_up_per_message + of.bytes_down_per_message

    often, seldom = polling(load(rate), POLLS), polling(load(rate, 5.0), POLLS)
    assert total(often) == pytest.approx(each_second, rel=0.01)
    assert total(seldom) == pytest.approx(each_five, rel=0.01)
    assert often.empty_share == pytest.approx(empty, abs=0.0006)
    assert seldom.empty_share == pytest.approx(empty_five, abs=0.0006)
    # Thousands are rounded to hundreds.
    assert total(long_polling(load(rate), POLLS)) == pytest.approx(hanging, rel=0.015)
    assert total(stream(load(rate), SHORT_EVENT)) == pytest.approx(event[0], abs=0.6)
    assert total(stream(load(rate), LONG_EVENT)) == pytest.approx(event[1], abs=0.6)
    assert total(stream(load(rate), SOCKET)) == pytest.approx(frame, abs=0.6)


def test_a_poll_is_late_by_half_an_interval_and_half_a_way() -> None:
    said = polling(load(4.0, 0.25), POLLS)
    assert said.delay_mean_s == pytest.approx(0.125 + 0.025)
    assert said.delay_p99_s == pytest.approx(0.2475 + 0.025)
    assert said.messages_per_request == pytest.approx(1.0)
    assert said.empty_share == pytest.approx(math.exp(-1))


def test_a_seldom_long_poll_costs_one_request_a_message_and_is_half_a_way_late() -> None:
    said = long_polling(load(0.2), POLLS)
    assert said.requests_per_second == pytest.approx(0.2, rel=0.03)
    assert said.delay_mean_s == pytest.approx(0.025, rel=0.02)
    assert said.empty_share == pytest.approx(math.exp(-0.2 * 30), rel=0.02)


def test_a_long_poll_that_the_rate_outruns_asks_once_a_round_trip() -> None:
    said = long_polling(load(1000.0), POLLS)
    assert said.requests_per_second == pytest.approx(1 / 0.05, rel=0.001)
    assert said.messages_per_request == pytest.approx(50)
    # Published while no question is there: on average half a round trip before it comes, and half a way back.
    assert said.delay_mean_s == pytest.approx(0.05, rel=0.001)
    assert said.delay_p99_s == pytest.approx(0.025 + 0.05 * 0.99, rel=0.001)


def test_a_streams_opening_is_shared_by_its_messages() -> None:
    opened = Stream(opening_up=500, opening_down=300, message=120)
    said = stream(Load(rate=4.0, seconds=20.0, rtt=0.1), opened)
    assert said.bytes_up_per_message == pytest.approx(500 / 80)
    assert said.bytes_down_per_message == pytest.approx(120 + 300 / 80)
    assert said.delay_mean_s == pytest.approx(0.05)
    assert said.delay_p99_s is None


def test_a_quiet_stream_is_sent_comments_and_a_busy_one_is_not() -> None:
    quiet = Stream(opening_up=0, opening_down=0, message=0, quiet_every=15.0, quiet_size=3)
    # Hardly ever a message: a comment every fifteen seconds. Four a second: none.
    assert quiet.kept_open(0.0001) == pytest.approx(3 / 15, rel=0.01)
    assert quiet.kept_open(4.0) == pytest.approx(0.0, abs=1e-9)


def test_an_answers_size_counts_the_digits_of_its_length() -> None:
    sizes = Polls(request=0, head=100, envelope=40, message=60)
    assert sizes.answer(0) == 100 + 2 + 40
    assert sizes.answer(1) == 100 + 3 + 100
    assert sizes.answer(2) == 100 + 3 + 40 + 60 + 1 + 60


def test_a_deviation_is_none_where_nothing_was_said() -> None:
    assert deviation(1.1, 1.0) == pytest.approx(0.1)
    assert deviation(0.0, math.exp(-100)) is None
    assert deviation(None, 1.0) is None
    assert deviation(1.0, None) is None
