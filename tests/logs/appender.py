"""A process that appends to a log and prints what came of it, until it is killed or told enough.

    appender.py URL [COUNT [PAUSE [SECONDS [KEPT [REFUSED]]]]]

Batches of one to twenty messages on four channels, three on the way at once, each message with data that
no other has, until COUNT batches of each of the three were acknowledged, REFUSED of each were refused one
after another, or SECONDS are over. The log keeps KEPT messages of each channel. A slow disk is waited for.

One line for each answer: `ack POSITION CHANNEL DATA` or `no REASON`, and between the batches of one of
the three `kept N` or `unread REASON` for a read. `open EPOCH HEAD` comes first, and `end` when it ended
by itself.
"""

# ruff: noqa: T201 - what it prints is what it is for

import asyncio
import random
import secrets
import sys
import time

from tidings.core import limits
from tidings.core.errors import Refusal
from tidings.core.history import Retention
from tidings.core.message import Draft
from tidings.logs import Log, open_log


async def publish(log: Log, count: int, pause: float, deadline: float, most_refused: int, name: str) -> None:
    chance = random.Random()
    n = refused = 0
    while n < count and refused < most_refused and time.monotonic() < deadline:
        drafts = [
            Draft(f"c{chance.randrange(4)}", f'"{name}-{n}-{m}-{secrets.token_hex(4)}"'.encode())
            for m in range(chance.randint(1, 20))
        ]
        try:
            receipts = await log.append(drafts)
        except Refusal as refusal:
            refused += 1
            print("no", refusal.detail, flush=True)
        else:
            n, refused = n + 1, 0
            # One write for the whole answer: what is printed was acknowledged, all of it.
            lines = [
                f"ack {receipt.cursor.position} {draft.channel} {draft.data.decode()}\n"
                for draft, receipt in zip(drafts, receipts, strict=True)
            ]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
        if name == "a":
            try:
                kept = await log.read(["c0", "c1", "c2", "c3"], 0, 1_000_000)
            except Refusal as refusal:
                print("unread", refusal.detail, flush=True)
            else:
                print("kept", len(kept), flush=True)
        if wait := 0.1 if refused else pause:
            await asyncio.sleep(wait)


async def main(
    url: str,
    count: str = "1000000",
    pause: str = "0",
    seconds: str = "60",
    kept: str = "1000",
    most_refused: str = "1000000",
) -> None:
    limits.LOG_TIMEOUT = 30.0  # type: ignore[misc]  # what is refused here is refused by the disk
    log = open_log(url, Retention(count=int(kept)))
    await log.open()
    print("open", log.epoch, log.head, flush=True)
    deadline = time.monotonic() + float(seconds)
    rules = int(count), float(pause), deadline, int(most_refused)
    await asyncio.gather(*(publish(log, *rules, name) for name in "abc"))
    await log.close()
    print("end", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
