"""The stream that keeps a log: its settings, its subjects, its lives.

Owns: the names in NATS, making and adopting the stream, and telling whether it went back. Does not own:
connections (link.py), following (tail.py). Invariant: a life of the log is a name in the stream's
own subjects, so a message published in one life is refused once another has begun, whoever publishes it.

The life is in the stream's settings and not in a record beside it: both are then lost together or not at all,
and changing it is one step that every node, and every message on its way, meets at the same place.
"""

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import Any, Final

from tidings.core import limits
from tidings.core.errors import SettingsError
from tidings.core.history import Retention
from tidings.core.message import Message
from tidings.logs.memory import new_epoch
from tidings.logs.nats.link import ApiError, Link
from tidings.logs.nats.record import NS, Arrival, channel_token, split, to_ns
from tidings.logs.nats.url import Place

_NOT_FOUND: Final = 10059
_NAME_IN_USE: Final = 10058
_NO_MESSAGE: Final = 10037
_OURS: Final = "tidings log 1"  # how a stream's description begins
_TERMS: Final = (  # what every node that opens the stream gives it
    "max_msgs", "max_msgs_per_subject", "max_bytes", "max_age", "max_msg_size", "duplicate_window",
    "num_replicas",
)  # fmt: skip
_OVERHEAD: Final = Message("", 0, "", 0, b"").weight  # of a message in a node, before its data
_LIFE: Final = re.compile(r"[a-z0-9]{1,32}").fullmatch
_REMOVED: Final = 0.5  # seconds that a server may take to remove a deleted stream's folder


@dataclass(frozen=True, slots=True)
class State:
    """How the stream was when it was asked: what is kept of it is from `first` to `last`."""

    life: str
    first: int
    last: int
    last_ns: int
    config: dict[str, Any]


class Stream:
    """The stream at one place, and what this process knows of its lives."""

    def __init__(self, place: Place, retention: Retention) -> None:
        self.name = place.stream
        self.retention = retention
        self._place = place
        self._past: dict[str, None] = {}
        # The newest message that is known by its position and its time, of the life it was seen in.
        self.seen: tuple[int, int] = (0, 0)

    def subject(self, life: str, channel: str) -> str:
        """Return where a message is published."""
        return f"{self.name}.log.{life}.{channel_token(channel)}"

    async def open(self, link: Link) -> State:
        """Make the stream, or adopt it and give it our retention.

        Raises SettingsError where that name holds what is not ours, and ApiError.
        """
        try:
            answer = await link.api(f"STREAM.INFO.{self.name}")
        except ApiError as error:
            if error.number != _NOT_FOUND:
                raise
            return await self._make(link)
        state = self._state(answer)
        wanted = self._config(state.life)
        config = {**state.config, **{name: wanted[name] for name in _TERMS}}
        if config == state.config:
            return state
        return self._state(await link.api(f"STREAM.UPDATE.{self.name}", config))

    async def _make(self, link: Link) -> State:
        try:
            return self._state(await link.api(f"STREAM.CREATE.{self.name}", self._config(new_epoch())))
        except ApiError as error:
            if error.number != _NAME_IN_USE:
                raise
            # Another node was first: its life is the one.
            return self._state(await link.api(f"STREAM.INFO.{self.name}"))

    async def look(self, link: Link) -> State:
        """Return how the stream is now; made anew where it is gone."""
        try:
            return self._state(await link.api(f"STREAM.INFO.{self.name}"))
        except ApiError as error:
            if error.number != _NOT_FOUND:
                raise
            # It was deleted under us. A server that is still removing its folder would remove the new one
            # with it (seen with 2.9.10): a stream that is there, and fails every append.
            await asyncio.sleep(_REMOVED)
            return await self._make(link)

    async def is_whole(self, link: Link, life: str, state: State, head: int) -> bool:
        """Whether the stream is the one whose life `life` was known here up to `head`, or of a newer life.

        False when it has gone back: a copy from earlier was put in its place, or its tail was lost.
        """
        if state.life != life:
            return state.life not in self._past
        if state.last < head:
            return False
        position, time_ns = self.seen
        if not position or position < state.first:
            return True
        if position == state.last:
            return time_ns == state.last_ns
        # Where it is kept no more, its number says enough: the head is at or above what was known.
        found = await self._get(link, {"seq": position})
        return found is None or found.time_ns == time_ns

    async def next_of(self, link: Link, channel: str, after: int) -> Arrival | None:
        """Return the first message of `channel` that is kept behind `after`, of any life; None if none is."""
        # From the stream's leader. A direct get would be quicker, but any replica answers it, and one that
        # is behind does not know yet what was acknowledged. And a consumer could filter by the subjects of
        # the life that is now, only.
        subjects = f"{self.name}.log.*.{channel_token(channel)}"
        return await self._get(link, {"seq": after + 1, "next_by_subj": subjects})

    async def nothing_up_to(self, link: Link, head: int, after: int) -> bool:
        """Whether what stood behind `after`, up to `head`, is kept no more. False when it cannot be said."""
        if await self._get(link, {"seq": after + 1, "next_by_subj": f"{self.name}.log.>"}) is not None:
            return False
        # One that was the leader may still answer, and has never had what it does not show.
        return (await self.look(link)).last >= head

    async def _get(self, link: Link, question: dict[str, Any]) -> Arrival | None:
        try:
            found = (await link.api(f"STREAM.MSG.GET.{self.name}", question))["message"]
            data = base64.b64decode(found.get("data", ""), validate=True)
            return Arrival(int(found["seq"]), to_ns(found["time"]), str(found["subject"]), data)
        except ApiError as error:
            if error.number != _NO_MESSAGE:
                raise
            return None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ApiError(0, "JetStream's answer is not a message") from None

    async def begin(self, link: Link, stale: State) -> State:
        """Return the state of a new life, begun in place of the one in `stale`."""
        config = dict(stale.config)
        config["subjects"] = [f"{self.name}.log.{new_epoch()}.>"]
        return self._state(await link.api(f"STREAM.UPDATE.{self.name}", config))

    def leave(self, life: str) -> None:
        """Remember a life that is over: a stream that shows it again has gone back."""
        self._past[life] = None
        if len(self._past) > limits.LOG_PAST_LIVES:
            del self._past[next(iter(self._past))]
        self.seen = (0, 0)

    def _config(self, life: str) -> dict[str, Any]:
        # The window of message ids may not be longer than the age of messages. So the stream keeps them
        # for as long as keys hold, and what is older than the retention says is passed over by each node.
        age_ns = int(max(self.retention.age, limits.IDEMPOTENCY_AGE) * NS)
        return {
            "name": self.name,
            "description": _OURS,
            "subjects": [f"{self.name}.log.{life}.>"],
            "retention": "limits",
            "discard": "old",
            "storage": self._place.storage,
            "num_replicas": self._place.replicas,
            "max_consumers": -1,
            # Nothing may be dropped but the first messages. A bound for each subject would drop from the
            # middle, and a follower could not tell of which channel.
            "max_msgs_per_subject": -1,
            # A message weighs _OVERHEAD in a node, and four times its data. Each of the two is bounded by all
            # that a node keeps. So the stream never has less than a node, and at most twice as much.
            "max_msgs": max(1, self.retention.bytes // _OVERHEAD),
            "max_bytes": max(1, self.retention.bytes // 4),
            "max_age": age_ns,
            # With room for the headers; what is longer is no record of ours.
            "max_msg_size": limits.LOG_RECORD_BYTES + 1024,
            "duplicate_window": int(limits.IDEMPOTENCY_AGE * NS),
        }

    def _state(self, answer: dict[str, Any]) -> State:
        try:
            config, state = answer["config"], answer["state"]
            ours = str(config.get("description", "")).startswith(_OURS)
            subjects = config.get("subjects", [])
            life = split(self.name, subjects[0].removesuffix(".>"))[0] if len(subjects) == 1 else ""
            if not ours or _LIFE(life) is None or subjects != [f"{self.name}.log.{life}.>"]:
                raise SettingsError(
                    f"The stream {self.name!r} in NATS is not a Tidings log; take another name= in the URL."
                )
            if config["storage"] != self._place.storage:
                raise SettingsError(
                    f"The stream {self.name!r} in NATS has storage={config['storage']}, which cannot be "
                    "changed; say so in the URL, or take another name=."
                )
            return State(
                life, int(state["first_seq"]), int(state["last_seq"]), to_ns(state["last_ts"]), config
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise ApiError(0, "JetStream's answer is not a stream's state") from None
