"""What does polling cost in bytes, and what does an empty poll cost in CPU?

Measures: 1,000 clients with a channel each, a message every 10 seconds there at random (Poisson): bytes
both ways per delivered message with a browser's headers, and the share of empty answers, for polls every 1
and 5 seconds, beside the other transports. Then polls without end on 64 connections: requests per CPU
second, against an uvicorn that says hello, and a C program that says an empty answer. Takes part: Tidings,
and the two responders.
Void: a message missing or too many, an error. A generator that is full is no fault here.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from harness import load
from harness.compare import Comparison
from harness.meter import Faults, Meter
from harness.rows import Found
from harness.scenario import Aim, Options, Plot, Scenario
from harness.servers import LONG_POLLING, POLLING, SSE, WEBSOCKET, Server, running
from harness.standing import C_RESPONDER, HELLO, TIDINGS

NAME = "polling"
EMPTY = "empty polls without rest, 64 connections"
_CLIENTS = 1_000
_RATE = 0.1  # messages a second on each channel
_ROUND_TRIP = 0.05  # loopback has none: a long-poll rests so long before it asks again
_CASES = {
    "every 1 s": (POLLING, 1.0),
    "every 5 s": (POLLING, 5.0),
    "asked again after 50 ms": (LONG_POLLING, _ROUND_TRIP),
    "stream": (SSE, 0.0),
    "WebSocket": (WEBSOCKET, 0.0),
}


def _bytes(server: Server, transport: str, rearm: float, seconds: float) -> Found:
    with (
        ThreadPoolExecutor(1) as alongside,
        running(server) as here,
        load.subscribers(
            here, transport, channels=_CLIENTS, rearm=rearm, headers=load.BROWSER_HEADERS
        ) as subscribers,
    ):
        subscribers.connect(_CLIENTS)
        # A poller's second question comes after a random share of its rest: then they are spread.
        time.sleep(rearm + 0.5)
        subscribers.mark()
        publishing = alongside.submit(
            load.publish,
            here,
            rate=_RATE * _CLIENTS,
            seconds=2 * rearm + seconds,
            channels=_CLIENTS,
            chance=True,
        )
        # From when every poll asks about a whole interval, for whole intervals: all have asked as often.
        time.sleep(rearm + 0.5)
        before = subscribers.report()
        time.sleep(seconds)
        after = subscribers.report()
        published = publishing.result()
        late = subscribers.wait_for(published.published, rearm + 5)
    faults = Faults.none()
    faults.counts(late, published.published)
    faults.publishing(published, 0)
    messages = max(after.messages - before.messages, 1)
    octets = after.bytes + after.sent_bytes - before.bytes - before.sent_bytes
    figures = {
        "wire_bytes_per_delivery": octets / messages,
        "requests_per_delivery": (after.requests - before.requests) / messages,
        "empties": (after.empties - before.empties) / max(after.answers - before.answers, 1),
        "delay_p50": late.delay_p50,
        "delay_p99": late.delay_p99,
    }
    return Found(figures, faults.all, faults.disturbed)


def _empty(server: Server, seconds: float) -> Found:
    with running(server) as here, load.subscribers(here, POLLING) as subscribers:
        subscribers.connect(64)
        time.sleep(0.5)
        subscribers.mark()
        meter = Meter(here.pid)
        time.sleep(seconds)
        report = subscribers.report()
        used = meter.read()
    faults = Faults.none()
    faults.errors(report)
    faults.loads(used, 0.0)  # the figure is for a CPU second, however busy the generator is
    if report.messages:
        faults.server.append(f"{report.messages:,} messages in empty polls")
    figures = {
        "requests_per_cpu_second": report.answers / used.cpu,
        "bytes_per_delivery": report.bytes / max(report.answers, 1),
        "generator_load": report.cpu / used.wall,
        **used.figures(),
    }
    return Found(figures, faults.all, faults.disturbed)


def comparisons(options: Options) -> Iterator[Comparison]:
    """Empty polls always; the bytes with --full."""
    yield Comparison(
        NAME,
        EMPTY,
        POLLING,
        options.having(POLLING, TIDINGS, HELLO, C_RESPONDER),
        partial(_empty, seconds=2.0),
        seconds=4.5,
        rounds=options.asked(2, 5),
    )
    if not options.full:
        return
    for how, (transport, rearm) in _CASES.items():
        seconds = max(5.0, 2 * rearm)
        yield Comparison(
            NAME,
            f"a message every 10 s, {how}",
            transport,
            options.having(transport, TIDINGS),
            partial(_bytes, transport=transport, rearm=rearm, seconds=seconds),
            seconds=seconds + 3 * rearm + 3,
            rounds=min(options.asked(1, 2), 2),
        )


SCENARIO = Scenario(
    NAME,
    "What does polling cost in bytes, and what does an empty poll cost in CPU?",
    comparisons,
    (
        "requests_per_cpu_second",
        "wire_bytes_per_delivery",
        "empties",
        "requests_per_delivery",
        "delay_p50",
        "delay_p99",
        "server_load",
        "generator_load",
    ),
    aims=(
        Aim("empty polls per CPU second", "requests_per_cpu_second", 2.0, 3.0, HELLO, EMPTY, least=True),
        Aim(
            "empty polls per CPU second", "requests_per_cpu_second", 0.25, 0.4, C_RESPONDER, EMPTY, least=True
        ),
    ),
    plots=(
        Plot(
            "empty-polls",
            EMPTY,
            "requests_per_cpu_second",
            "Tidings answers {ours} empty polls per CPU second, {ratio} times uvicorn's hello",
            HELLO,
        ),
        Plot(
            "bytes",
            "",
            "wire_bytes_per_delivery",
            "A rare message costs a poller most: bytes on the wire per delivered message",
            labels="case",
        ),
    ),
)
