"""What a transport must cost, from the load and the sizes of one exchange of each kind. Pure.

Owns: the formulas. Does not own: the sizes (sizes.py), or what was measured.

Messages of m bytes come by chance (Poisson) at r a second. A request takes D there and back, a poll is asked
every i, a long-poll hangs for T at most.

- Polling: a question finds nothing with e^(-r·i). A message waits i/2 for the next, and half a way.
- Long-polling: after each answer the next question is D away. What is published meanwhile, r·D messages, is
  answered at once when it arrives; else it hangs until the next message. So a cycle lasts D and, with
  e^(-r·D), a wait of 1/r; and it brings r·D messages and, with e^(-r·D), one more.
- The streams: each message is its own bytes and a frame, half a way late. Opening costs once.
"""

import math
from dataclasses import dataclass

from tidings.lab.load import Load
from tidings.lab.sizes import Polls, Sizes, Stream


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the formulas say: a client's requests a second, shares, bytes a delivered message, seconds.

    `moves_per_message` are what the server reads and writes: two a request, one a message on a stream.
    """

    requests_per_second: float
    messages_per_request: float
    empty_share: float
    bytes_up_per_message: float
    bytes_down_per_message: float
    moves_per_message: float
    delay_mean_s: float
    delay_p50_s: float
    delay_p99_s: float | None


def polling(load: Load, sizes: Polls) -> Prediction:
    """Return what a poll every `load.interval` costs."""
    r, i = load.rate, load.interval
    empty = math.exp(-r * i)
    down = empty * sizes.empty + (1 - empty) * sizes.answer(1) + (r * i - (1 - empty)) * sizes.further
    return Prediction(
        requests_per_second=1 / i,
        messages_per_request=r * i,
        empty_share=empty,
        bytes_up_per_message=sizes.request / (r * i),
        bytes_down_per_message=down / (r * i),
        moves_per_message=2 / (r * i),
        delay_mean_s=i / 2 + load.rtt / 2,
        delay_p50_s=i / 2 + load.rtt / 2,
        delay_p99_s=0.99 * i + load.rtt / 2,
    )


def long_polling(load: Load, sizes: Polls) -> Prediction:
    """Return what one question after the other costs, each hanging for `load.wait` at most."""
    r, d = load.rate, load.rtt
    parked = math.exp(-r * d)  # the share of questions that find nothing when they arrive
    answered = 1 - math.exp(-r * load.wait)  # of those, the share that is not empty at the deadline
    cycle = d + parked * answered / r
    messages = r * d + parked * answered
    empty = parked * (1 - answered)
    down = empty * sizes.empty + (1 - empty) * sizes.answer(1) + (messages - (1 - empty)) * sizes.further
    # Published while no question was there: from half a way to one and a half, each as likely.
    waited = r * d / messages

    def quantile(q: float) -> float:
        return d / 2 if q <= 1 - waited else d / 2 + d * (q - (1 - waited)) / waited

    return Prediction(
        requests_per_second=1 / cycle,
        messages_per_request=messages,
        empty_share=empty,
        bytes_up_per_message=sizes.request / messages,
        bytes_down_per_message=down / messages,
        moves_per_message=2 / messages,
        delay_mean_s=d / 2 + waited * d / 2,
        delay_p50_s=quantile(0.5),
        delay_p99_s=quantile(0.99),
    )


def stream(load: Load, sizes: Stream) -> Prediction:
    """Return what an open stream costs: its opening, shared by its messages, and theirs."""
    messages = load.rate * load.seconds
    return Prediction(
        requests_per_second=1 / load.seconds,
        messages_per_request=messages,
        empty_share=0.0,
        bytes_up_per_message=sizes.opening_up / messages + sizes.idle_up / load.rate,
        bytes_down_per_message=sizes.opening_down / messages
        + sizes.message
        + sizes.kept_open(load.rate) / load.rate,
        moves_per_message=1 + (sizes.idle_moves + sizes.comments(load.rate)) / load.rate,
        delay_mean_s=load.rtt / 2,
        delay_p50_s=load.rtt / 2,
        delay_p99_s=None,  # it is the machine's own, and no formula's
    )


def predict(load: Load, sizes: Sizes) -> dict[str, Prediction]:
    """Return the prediction for each transport."""
    return {
        "polling": polling(load, sizes.polling),
        "long-polling": long_polling(load, sizes.long_polling),
        "sse": stream(load, sizes.sse),
        "websocket": stream(load, sizes.websocket),
    }


def deviation(measured: float | None, said: float | None) -> float | None:
    """Return by which part of it the measured differs from what was said; None where 0 was, or nothing."""
    # Less than one in a billion is 0: the empties of a long-poll that hangs far longer than a message takes.
    return None if measured is None or said is None or said < 1e-9 else measured / said - 1
