"""Does the yardstick measure? The generator, the publisher and the C loop against servers that misbehave.

Owns: the comparison of what was counted with what the scripted servers of checks/ said, cut anywhere; and a
reader that stops, in front of the C loop. Does not own: any figure. Ends with 0 where all counts are right.

usage: python bench/check.py
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import Popen

from checks import dialects, plain, resumes
from checks.scripted import CLIENTS, Script, serving
from harness import build, load, processes, servers
from harness.load import Report
from harness.servers import SSE, WEBSOCKET, Running, Server, running

_BIG = 60_000
_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
_AT_ONCE = 12  # checks: each waits more than it works
_SAMPLED = 2
_ARRIVE = 10.0
_SHOULD_NOT_COME = 0.4

Nobody = Popen[bytes]  # stands where a server's process would: scripted servers are threads of this one


def _report(script: Script, slice_size: int, nobody: Nobody) -> Report:
    server = Server(
        "scripted",
        lambda _: (),
        {script.transport: "/channels/x"},
        prefix=script.prefix,
        hello=script.hello,
        dialect=script.dialect,
        resume=script.resume,
    )
    with (
        serving(script, slice_size) as port,
        load.subscribers(
            Running(server, nobody, port), script.transport, samples=_SAMPLED, rearm=script.rearm
        ) as subscribers,
    ):
        with suppress(RuntimeError):  # "refused" fails here, and the report says how
            subscribers.connect(CLIENTS)
        expected, before = CLIENTS * script.expected["messages"], 0
        if script.each:
            subscribers.wait_for(expected - CLIENTS * script.each, _ARRIVE)
            time.sleep(_SHOULD_NOT_COME)
            before = subscribers.report().messages
            subscribers.mark()
            subscribers.cut()
            with suppress(RuntimeError):
                subscribers.reconnect(script.each, CLIENTS)
        subscribers.wait_for(expected - before, _ARRIVE)
        time.sleep(_SHOULD_NOT_COME)  # and for the error
        report = subscribers.report()
        return replace(report, messages=before + report.messages)


def check_counts(script: Script, slice_size: int, nobody: Nobody) -> str:
    """Return what was counted wrong by some clients of one scripted server, or ""."""
    report = _report(script, slice_size, nobody)
    expected = {name: n * CLIENTS for name, n in script.expected.items()}
    expected["errors"] = CLIENTS if script.error else 0
    if script.each:
        expected |= {"caught_up": CLIENTS, "caught_over": 0, "samples": _SAMPLED * script.each}
    wrong = [f"{k} {getattr(report, k)}, not {v}" for k, v in expected.items() if getattr(report, k) != v]
    if not report.error.startswith(script.error) or (not script.error and report.error):
        wrong.append(f"error {report.error!r}")
    return ", ".join(wrong)


def check_plants(nobody: Nobody) -> str:
    """Return which wrong counts, planted here, were not seen, or ""."""
    frames, resumed = plain.SCRIPTS["frames"], resumes.SCRIPTS["frames, by cursor"]
    plants = {
        "a message too many": replace(frames, expected={"messages": 3}),
        "another frame too many": replace(frames, expected={"messages": 4, "others": 1}),
        "an error that nobody expects": replace(plain.SCRIPTS["closed"], error=""),
        "a message twice after a cut": replace(resumed, each=1),
        "another place after a cut": replace(resumed, resume="none", expected={"messages": 2}),
    }
    return ", ".join(name for name, script in plants.items() if not check_counts(script, 100_000, nobody))


def check_publisher(answer: bytes, nobody: Nobody, *, answered: int, error: str) -> str:
    """Return what a publisher got wrong whose first publish is answered so, its second by a close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with listener.accept()[0] as peer:
                peer.recv(65536)
                peer.sendall(answer)
                peer.recv(65536)

        threading.Thread(target=talk, daemon=True).start()
        here = Running(Server("publisher", lambda _: (), {}), nobody, listener.getsockname()[1])
        done = load.publish(here, rate=20, seconds=0.1)
    wrong = [] if done.answered == answered else [f"answered {done.answered}, not {answered}"]
    if error not in done.error or not done.errors:
        wrong.append(f"{done.errors} errors, {done.error!r}")
    return ", ".join(wrong)


def check_stalled(transport: str, join: int) -> str:
    """Return what the C loop lost when its readers stop for a while in front of 12 MB each, or ""."""
    floor = servers.c_loop(join, epoch="e")
    with running(floor) as here, load.subscribers(here, transport) as subscribers:
        subscribers.connect(20)
        subscribers.mark()
        subscribers.signal(signal.SIGSTOP)
        # Every reader's kernel buffers are smaller than this: short sends must happen.
        published = load.publish(here, rate=400, seconds=0.5, size=_BIG)
        subscribers.signal(signal.SIGCONT)
        expected = published.published * 20
        report = subscribers.wait_for(expected, _ARRIVE)
        time.sleep(0.1)
        after = subscribers.report()
    if after.messages != expected or after.errors or published.errors:
        return f"{after.messages:,} of {expected:,}, {report.error or published.error}"
    if after.samples != expected:
        return f"{after.samples:,} delays of {expected:,}"
    return ""


def _run(check: Callable[[], str]) -> str:
    try:
        return check()
    except RuntimeError as error:
        return str(error)


def main() -> int:
    """Run all checks."""
    processes.prepare()
    for program in ("generator", "publisher", "floor"):
        build.program(program)
    with processes.stopping(processes.start_server(("sleep", "600"), {}, Path(os.devnull))) as nobody:
        at_once: dict[str, Callable[[], str]] = {}
        for scripts in (plain.SCRIPTS, dialects.SCRIPTS, resumes.SCRIPTS):
            for name, script in scripts.items():
                for size in script.slices:
                    at_once[f"{name}, {size:,} bytes at a time"] = partial(check_counts, script, size, nobody)
        at_once["wrong counts are seen"] = partial(check_plants, nobody)
        at_once["a publish refused"] = partial(
            check_publisher, plain.BUSY, nobody, answered=0, error="answer 503 to a publish"
        )
        at_once["a publisher cut off"] = partial(
            check_publisher, _CREATED, nobody, answered=1, error="closed a publishing connection"
        )
        alone: dict[str, Callable[[], str]] = {
            f"readers stop, {transport}, joined by {join}": partial(check_stalled, transport, join)
            for transport in (WEBSOCKET, SSE)
            for join in (1, 8)
        }
        wrong = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for checks, found in (
                (at_once, pool.map(_run, at_once.values())),
                (alone, map(_run, alone.values())),
            ):
                for what, said in zip(checks, found, strict=True):
                    wrong += bool(said)
                    print(f"{'WRONG' if said else 'right'}  {what}{': ' if said else ''}{said}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
