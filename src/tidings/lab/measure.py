"""A run: a server for each transport, its clients, the same messages at the same moments, and the figures.

Owns: the order of things, and when counting begins. Does not own: what is counted (listeners.py, tally.py).

The four run at the same time, so that all have the same messages and the same neighbours, and each against a
server process of its own, so that CPU and memory can be told apart. Each server has the messages a few
milliseconds after the one before: else four fan-outs would queue for the cores of one machine, and the delay
would be that of the queue. What a server uses by itself, and what a publish costs it, is measured beforehand
with nobody listening, and taken off.
"""

import asyncio
import contextlib
import gc
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tidings.lab import formulas
from tidings.lab.calibrate import CHANNEL, calibrate, join
from tidings.lab.listeners import (
    EventStream,
    Listener,
    ListenerFailed,
    LongPoller,
    Poller,
    WebSocketStream,
)
from tidings.lab.load import Load, LoadError
from tidings.lab.look import TRANSPORTS
from tidings.lab.publisher import Publisher, message, publish_all
from tidings.lab.result import Outcome, Result, compare, figures, quantile
from tidings.lab.servers import Server, serving
from tidings.lab.tally import Tally

APART: Final = 0.005  # seconds between the same message's moments on two servers
RAMP_LEAST: Final = 1000  # clients: fewer say little of memory, which comes in pages and arenas
OWN_LEAST: Final = (
    0.3  # of a server's CPU: where delivering is less, the difference of two others says nothing
)
RAMP_STEPS: Final = 4
_IDLE: Final = 1.5  # seconds
_TRIALS: Final = 100  # publishes with nobody listening
_SPARE: Final = 64  # descriptors besides the clients'
_OTHER: Final = "trial"  # a channel as any other, that nobody listens to

# Told what is going on, and how much of it is done, 0 to 1.
Progress = Callable[[str, float], None]


async def measure(
    load: Load, progress: Progress = lambda _what, _share: None, *, ramp: int = RAMP_LEAST
) -> Result:
    """Run `load` and return what was found. Raises LoadError or ListenerFailed.

    `ramp` clients of each transport are connected, for the memory; all but `load.clients` leave again.
    """
    load.check()
    ramp = max(load.clients, ramp)
    _allow(ramp * len(TRANSPORTS) + _SPARE)
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, told: faults.append(_in_words(told)))
    try:
        result = await _run(load, ramp, progress)
        if faults:
            raise ListenerFailed(f"{len(faults)} of the lab's clients failed")
        return result
    except ListenerFailed as why:
        # What went wrong first is the cause; what was waited for in vain only shows it.
        raise ListenerFailed(faults[0] if faults else str(why)) from None
    finally:
        loop.set_exception_handler(None)


async def _run(load: Load, ramp: int, progress: Progress) -> Result:
    async with contextlib.AsyncExitStack() as stack:
        progress("starting four servers", 0.0)
        servers = dict(
            zip(
                TRANSPORTS,
                await asyncio.gather(*(stack.enter_async_context(serving()) for _ in TRANSPORTS)),
                strict=True,
            )
        )
        progress("looking at one exchange of each kind", 0.0)
        sizes = await calibrate(servers["polling"], load)
        progress("looking at a server alone", 0.0)
        idle_load = await _idle_load(list(servers.values()))
        publish_cpu = await _publish_cost(servers["websocket"], load, idle_load)
        tallies = {transport: Tally(begins=float("inf")) for transport in TRANSPORTS}
        crowds: dict[str, list[Listener]] = {}
        memory = {}
        for done, (transport, server) in enumerate(servers.items()):
            progress(f"connecting {ramp} clients by {transport}", done / len(servers))
            crowds[transport], memory[transport] = await _gather_crowd(
                transport, server, load, tallies[transport], ramp
            )
            stack.callback(_leave, crowds[transport])
        # Not before: a connection that asks nothing for ten seconds is closed.
        publishers = {name: await Publisher(server, CHANNEL).connect() for name, server in servers.items()}
        for publisher in publishers.values():
            stack.callback(publisher.close)
        with _undisturbed():
            used, late = await _count(load, servers, publishers, crowds, tallies, progress)
    predictions = formulas.predict(load, sizes)
    outcomes: dict[str, Outcome] = {}
    for transport, tally in tallies.items():
        own = used[transport] - publish_cpu * load.messages - idle_load * load.seconds
        known = own >= OWN_LEAST * used[transport]
        found = figures(tally, load, cpu_seconds=own if known else None, memory=memory[transport])
        outcomes[transport] = compare(found, predictions[transport], load)
    return Result(
        load=load,
        sizes=sizes,
        published=load.messages,
        late_p99_s=quantile(sorted(late), 0.99) or 0.0,
        publish_cpu_us=publish_cpu * 1e6,
        idle_load=idle_load,
        outcomes=outcomes,
    )


def _in_words(told: dict[str, Any]) -> str:
    why = told.get("exception")
    return str(told["message"]) if why is None else f"{type(why).__name__}: {why or told['message']}"


async def _count(
    load: Load,
    servers: dict[str, Server],
    publishers: Mapping[str, Publisher],
    crowds: dict[str, list[Listener]],
    tallies: dict[str, Tally],
    progress: Progress,
) -> tuple[dict[str, float], list[float]]:
    """Publish, and count for `load.seconds`; return each server's CPU time, and the publisher's lateness."""
    start = time.monotonic() + 0.1
    begins, ends = start + load.lead, start + load.lead + load.seconds
    moments = load.moments()
    for place, tally in enumerate(tallies.values()):
        tally.due = [start + place * APART + moment for moment in moments]
        tally.begins, tally.ends = begins, ends
    # Each poller has a moment of its own within the interval; together they cover it evenly, by lot.
    places = list(range(load.clients))
    random.Random(load.seed).shuffle(places)  # noqa: S311 - chance, not a secret
    for place, poller in zip(places, crowds["polling"], strict=True):
        assert isinstance(poller, Poller)
        poller.poll(start + load.interval * (place + 0.5) / load.clients, load.interval)
    dues = {publisher: tallies[transport].due for transport, publisher in publishers.items()}
    publishing = asyncio.create_task(publish_all(dues, load.size))
    try:
        await _sleep_until(begins)
        before = {transport: server.cpu_seconds() for transport, server in servers.items()}
        while (now := time.monotonic()) < ends:
            progress(f"measuring for {load.seconds:g} s", (now - begins) / load.seconds)
            await _sleep_until(min(now + 0.2, ends))
        used = {transport: server.cpu_seconds() - before[transport] for transport, server in servers.items()}
        progress("done", 1.0)
        late = await publishing
    finally:
        publishing.cancel()
    for publisher in publishers.values():
        await publisher.settled()
    await asyncio.sleep(load.rtt)  # what is on its way by the simulated way is taken
    return used, late


async def _idle_load(servers: Sequence[Server]) -> float:
    """Return the CPU seconds a second of a server that nobody asks anything: its clocks and housekeeping."""
    before = [server.cpu_seconds() for server in servers]
    start = time.monotonic()
    await asyncio.sleep(_IDLE)
    used = [server.cpu_seconds() - was for server, was in zip(servers, before, strict=True)]
    return statistics.median(used) / (time.monotonic() - start)


async def _publish_cost(server: Server, load: Load, idle_load: float) -> float:
    """Return the CPU time in seconds of one publish that nobody hears."""
    publisher = await Publisher(server, _OTHER).connect()
    try:
        for trials in (_TRIALS // 4, _TRIALS):  # the first are not counted: caches fill
            before, start = server.cpu_seconds(), time.monotonic()
            for trial in range(trials):
                publisher.publish(message(trial, load.size))
                await asyncio.sleep(0.004)
            await publisher.settled()
            used = server.cpu_seconds() - before - idle_load * (time.monotonic() - start)
        return max(0.0, used) / _TRIALS
    finally:
        publisher.close()


async def _gather_crowd(
    transport: str, server: Server, load: Load, tally: Tally, ramp: int
) -> tuple[list[Listener], float]:
    """Return the clients, and the memory of one: the slope of the server's Pss while `ramp` connect."""
    aside = Tally(begins=float("inf"))
    every: list[Listener] = []
    seen = []
    for step in range(RAMP_STEPS + 1):
        wanted = ramp * step // RAMP_STEPS
        while len(every) < wanted:
            group = [
                _client(transport, server, load, tally if len(every) + at < load.clients else aside)
                for at in range(min(50, wanted - len(every)))
            ]
            every += group
            await asyncio.gather(*(join(server, client) for client in group))
        await asyncio.sleep(0.05)  # the last long-polls arrive
        seen.append((len(every), server.memory()))
    # The first connections also fill what all share, so the line begins at the first step.
    slope, _ = statistics.linear_regression([n for n, _ in seen[1:]], [used for _, used in seen[1:]])
    _leave(every[load.clients :])
    return every[: load.clients], slope


def _client(transport: str, server: Server, load: Load, tally: Tally) -> Listener:
    host, rtt = server.host, load.rtt
    match transport:
        case "polling":
            return Poller(host, CHANNEL, tally, rtt=rtt)
        case "long-polling":
            return LongPoller(host, CHANNEL, tally, rtt=rtt, wait=load.wait)
        case "sse":
            return EventStream(host, CHANNEL, tally, rtt=rtt)
        case _:
            return WebSocketStream(host, CHANNEL, tally, rtt=rtt)


def _leave(clients: Sequence[Listener]) -> None:
    for client in clients:
        client.leave()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the collector of garbage from stopping the clients while they are timed."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _allow(descriptors: int) -> None:
    """Make sure that as many files may be open; servers inherit it. Raises LoadError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and descriptors > hard:
        raise LoadError(
            f"This needs {descriptors} open connections, and a process may have {hard} here (ulimit -Hn). "
            "Take fewer --clients."
        )
    if soft != resource.RLIM_INFINITY and descriptors > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
