"""What a follower hears: stored messages in order, from one consumer of its own, and none left out.

Owns: a consumer from its making to its end, how much of it is on the way, and the proof that nothing was
skipped. Does not own: lives (stream.py), what is kept no more (follow.py).
Invariant: arrivals have the consumer's own numbers 1, 2, 3…; where one is missing the pull is broken, and
whoever reads it makes another behind the last position it has.

It is a pull consumer: the server sends what was asked for and no more, so a reader that is slow has a
bounded number of messages in memory, and nothing is ever dropped on the way to it.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg

from tidings.core import limits
from tidings.logs.nats.link import API, ApiError, Link
from tidings.logs.nats.record import Arrival
from tidings.logs.nats.stream import Stream

PULL_AGE: Final = 30  # seconds, after which a request is made anew
HEARTBEAT: Final = 1  # seconds between signs of life while there are no messages
SILENCE: Final = 3.0  # after so long without any the consumer is taken for gone
_NS: Final = 1_000_000_000
_ACK_TOKENS: Final = 9
_ACK_TOKENS_DOMAIN: Final = (
    12  # with a JetStream domain, or newer servers: a domain, an account, a random end
)


class Broken(Exception):  # not an error: another pull goes on
    """The consumer is gone, or something of it was missed."""


class Pull:
    """One consumer. `start` is the position before the first that it can bring."""

    def __init__(self, link: Link, stream: Stream) -> None:
        self._link = link
        self._stream = stream
        self._name = ""
        self._inbox = ""
        self._end: Callable[[], None] | None = None
        self._arrivals: deque[Arrival] = deque()
        self._bytes = 0  # of the arrivals that nobody took yet
        self._awake = asyncio.Event()
        self._broken = False
        self._number = 0  # of the last arrival, as the consumer counts
        self._room = 0  # messages that are asked for and have not come
        self._asked = 0
        self._came_since_asking = True
        self._stuck = False
        self.start = 0

    @classmethod
    async def begin(cls, link: Link, stream: Stream, after: int) -> "Pull":
        """Return a consumer of what stands behind `after`. Raises LinkLost, ApiError."""
        pull = cls(link, stream)
        pull._inbox, pull._end = await link.subscribe(pull._heard)
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": limits.NATS_CONSUMER_IDLE * _NS,
        }
        try:
            made = await link.api(
                f"CONSUMER.CREATE.{stream.name}", {"stream_name": stream.name, "config": config}
            )
            pull._name = str(made["name"])
            pull.start = int(made["delivered"]["stream_seq"])
        except (KeyError, TypeError, ValueError):
            pull.close()
            raise ApiError(0, "JetStream's answer is not a consumer") from None
        except BaseException:
            pull.close()
            raise
        link.lost.add_done_callback(pull._lost)
        return pull

    async def take(self, patience: float | None = None) -> list[Arrival]:
        """Return what has come, at least one, or nothing after `patience` seconds.

        Raises Broken when the consumer is gone or something was missed, after all that came before that.
        """
        if not self._arrivals and not self._broken:
            self._ask()
            await self._wait(patience)
        if not self._arrivals and self._broken:
            raise Broken
        taken = list(self._arrivals)
        self._arrivals.clear()
        self._bytes = 0
        self._ask()
        return taken

    async def _wait(self, patience: float | None) -> None:
        loop = asyncio.get_running_loop()
        until = None if patience is None else loop.time() + patience
        while not self._arrivals and not self._broken:
            self._awake.clear()
            silent = loop.time() + SILENCE
            try:
                async with asyncio.timeout_at(silent if until is None else min(silent, until)):
                    await self._awake.wait()
            except TimeoutError:
                if until is not None and loop.time() >= until:
                    return
                self._broken = True

    def wake(self) -> None:
        """Have `take` raise Broken when it has handed on what came."""
        self._broken = True
        self._awake.set()

    def close(self) -> None:
        """Give back the consumer."""
        self._link.lost.remove_done_callback(self._lost)
        self._broken = True
        if self._end is not None:
            self._end()
            self._end = None
            if self._name and not self._link.lost.done():
                # Nobody waits for the answer: the server forgets the consumer by itself, only later.
                delete = f"{API}CONSUMER.DELETE.{self._stream.name}.{self._name}"
                self._link.publish(delete, b"", None, lambda _answer: None)

    def _lost(self, _link: object) -> None:
        self.wake()

    def _ask(self) -> None:
        wanted = limits.NATS_PULL_MESSAGES - self._room - len(self._arrivals)
        full = wanted < limits.NATS_PULL_MESSAGES // 2 or self._bytes >= limits.NATS_PULL_BYTES
        if full or self._broken or self._link.lost.done():
            return
        question = {"batch": wanted, "max_bytes": limits.NATS_PULL_BYTES}
        if self._stuck:
            # A single message is over the bound. Here it cannot be passed over, so it comes alone.
            self._stuck = False
            question = {"batch": 1}
        self._came_since_asking = False
        self._asked += 1
        self._room += question["batch"]
        question |= {"expires": PULL_AGE * _NS, "idle_heartbeat": HEARTBEAT * _NS}
        self._link.tell(
            f"{API}CONSUMER.MSG.NEXT.{self._stream.name}.{self._name}",
            json.dumps(question).encode(),
            f"{self._inbox}.{self._asked}",
        )

    def _heard(self, message: Msg) -> None:
        headers = message.headers
        if headers is not None and "Status" in headers:
            self._told(headers["Status"], headers)
        else:
            self._came(message)
        self._awake.set()

    def _came(self, message: Msg) -> None:
        tokens = message.reply.split(".")
        # Before the server's own seven there may be a domain and an account, and behind them a random end.
        tokens = tokens[4:11] if len(tokens) >= _ACK_TOKENS_DOMAIN else tokens[2:]
        try:
            _stream, _consumer, _times, position, number, time_ns, _behind = tokens
            arrival = Arrival(int(position), int(time_ns), message.subject, message.data)
            in_order = int(number) == self._number + 1
        except ValueError:
            in_order = False
        if self._broken or not in_order:
            self._broken = True
            return
        self._number += 1
        self._room -= 1
        self._came_since_asking = True
        self._arrivals.append(arrival)
        self._bytes += len(arrival.data)
        self._ask()

    def _told(self, status: str, headers: dict[str, str]) -> None:
        if status == "100":
            return
        too_large = status == "409" and headers.get("Description", "").startswith("Message Size Exceeds")
        left = headers.get("Nats-Pending-Messages", "")
        if (status == "408" or too_large) and left.isdigit() and len(left) < 10:
            # A request has ended, by its age or before a message that is over what it has left of its bytes.
            self._room = max(0, self._room - int(left))
            self._stuck = too_large and not self._came_since_asking
            self._ask()
        else:
            # The consumer is gone, or its server is, or there are limits that we do not know.
            self._broken = True
