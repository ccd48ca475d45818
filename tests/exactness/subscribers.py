"""Subscribers that keep only a cursor, change transport at random, drop connections, and write down all
that comes.

Owns: what a client does by the protocol (spec §3.2, §3.3, §5). Does not own: whether what came was right
(checker.py).
Invariant: the n-th connection of a client does what the seed, its name and n say.

What is written down in Session.events, in the order in which it came:

    ("ask", cursor or None, limit or None)           a poll is asked
    ("answer", cursor, more, now_ms)                 its end, behind its gaps and messages
    ("same",)                                        a 304
    ("ready", cursor, channels)                      a stream begins
    ("message", id, channel)
    ("gap", channel, after, resumed, reason, now_ms)
    ("subscribe", ref, channels, start) / ("unsubscribe", ref, channels)
    ("ok", ref, channels, cursor or None, now_ms)
    ("end", code) / ("closed", code) / ("cut", why) / ("left",)
"""

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from exactness.book import Book, Session, cursor_of, now_ms
from exactness.links import Closed, Cut, Events, Link, Malformed, Socket, backoff, parsed, raws

TRANSPORTS = ("polling", "long-polling", "sse", "websocket")


@dataclass(frozen=True)
class _Plan:
    """What one connection will do; drawn before it begins. Times are seconds."""

    transport: str
    straight: bool
    seconds: float
    stall_after: float
    stall: float
    ending: str
    away: float
    start: str
    forget: bool


class Subscriber:
    """One client. `door` is the port of its own door in the proxy, `ports` the servers'.

    `codes` are the close codes that it may meet.
    """

    def __init__(
        self,
        book: Book,
        name: str,
        seed: int | str,
        channels: tuple[str, ...],
        every_channel: tuple[str, ...],
        *,
        ports: Sequence[int],
        door: int,
        codes: frozenset[int] = frozenset({1000, 1001, 4005}),
        pace: float = 1.0,
        forgets: bool = True,
    ) -> None:
        self.name = name
        self.channels = tuple(sorted(channels))
        self.cursor: str | None = None
        self.live = False
        self._book = book
        self._seed = seed
        self._every_channel = every_channel
        self._ports = ports
        self._codes = codes
        self._door = door
        self._pace = pace
        self._forgets = forgets
        self._serial = 0
        self._failures = 0
        self._like_a_browser = False
        self._keeps_higher = False
        self._recent: deque[str] = deque(maxlen=60)
        self._obeyed = 0  # the last command that was; one at a time, as what it says decides on the next
        self._together: list[str] = []  # the `resumed` of gaps that came one after another
        self._link: Link | None = None

    # --- one connection after another --------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Come and go until `stop` is set."""
        while not stop.is_set():
            self._serial += 1
            chance = random.Random(f"{self._seed}/{self.name}/{self._serial}")
            plan = self._plan(chance)
            if plan.forget and self._forgets:
                self.cursor = None
            if chance.random() < 0.06 and len(self.channels) < 100:
                most = min(5, len(self._every_channel))
                self.channels = tuple(sorted(chance.sample(self._every_channel, chance.randint(1, most))))
            self._like_a_browser, self._keeps_higher = chance.random() < 0.5, chance.random() < 0.5
            await self._connection(plan, chance, stop)
            pause = plan.away * self._pace + backoff(chance, self._failures)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    def _plan(self, chance: random.Random) -> _Plan:
        stalls = chance.random() < 0.2
        return _Plan(
            transport=chance.choice(TRANSPORTS),
            straight=chance.random() < 0.3,
            seconds=self._pace * chance.choice((0.3, 1.0, 3.0, 8.0)) * (0.2 + chance.random()),
            stall_after=chance.random(),
            stall=self._pace * (0.5 + 4 * chance.random()) if stalls else 0.0,
            ending=chance.choice(("abort", "reset", "close", "bye")),
            away=chance.choice((0.0, 0.0, 0.1, 0.3, 0.3, 4.0)),
            start=chance.choice(("", "", "after=earliest", "rewind=7", "rewind=2s")),
            forget=chance.random() < 0.03,
        )

    async def _connection(self, plan: _Plan, chance: random.Random, stop: asyncio.Event) -> None:
        session = self._book.session(
            Session(
                self.name,
                self._serial,
                plan.transport,
                "straight" if plan.straight else "through the proxy",
                self.channels,
                self.cursor,
                "" if self.cursor else plan.start,
                time.time(),
            )
        )
        self._together = []
        try:
            link = await Link.open(
                chance.choice(self._ports) if plan.straight else self._door,
                receive_buffer=4096 if plan.stall else None,
            )
        except Cut as cut:
            session.events.append(("cut", str(cut)))
            self._failures += 1
            return
        self._link = link
        try:
            await self._talk(link, session, plan, chance, stop)
            session.events.append(("left",))
            self._failures = 0
            if plan.ending == "close":
                link.close()
        except Closed as closed:
            session.events.append(("closed", closed.code))
            self._failures = 0
            if closed.code not in self._codes and not (closed.code == 4000 and plan.stall):
                self._book.broken.append(f"{session}: closed with {closed}")
        except Cut as cut:
            session.events.append(("cut", str(cut)))
            self._failures = 0 if self.live else self._failures + 1
        except (Malformed, ValueError, KeyError, msgspec.DecodeError) as fault:
            self._book.broken.append(f"{session}: {type(fault).__name__}: {fault}")
        finally:
            self.live = False
            self._link = None
            if not link.writer.is_closing():
                link.abort(reset=plan.ending == "reset")

    async def _talk(
        self, link: Link, session: Session, plan: _Plan, chance: random.Random, stop: asyncio.Event
    ) -> None:
        ends = time.monotonic() + plan.seconds
        match plan.transport:
            case "polling" | "long-polling":
                await self._ask_on(link, session, plan, chance, ends, stop)
            case "sse":
                await self._listen(link, session, plan, chance, ends, stop)
            case _:
                await self._converse(link, session, plan, chance, ends, stop)

    def _query(self, session: Session, chance: random.Random) -> tuple[dict[str, str], dict[str, str]]:
        """Return the query and the headers that say where to begin."""
        if self.cursor is None:
            name, _, value = session.start.partition("=")
            return ({name: value} if name else {}), {}
        if chance.random() < 0.5:
            return {}, {"Last-Event-ID": self.cursor}
        return {"after": self.cursor}, {}

    def _target(self, query: dict[str, str]) -> str:
        return f"/channels/{','.join(self.channels)}" + (f"?{urlencode(query)}" if query else "")

    # --- polling and long-polling ------------------------------------------------------------------

    async def _ask_on(
        self,
        link: Link,
        session: Session,
        plan: _Plan,
        chance: random.Random,
        ends: float,
        stop: asyncio.Event,
    ) -> None:
        etag = ""
        waits = plan.transport == "long-polling"
        stall_at = ends - plan.seconds * (1 - plan.stall_after)
        stalls = plan.stall
        while time.monotonic() < ends and not stop.is_set():
            query, headers = self._query(session, chance)
            limit = chance.choice((None, None, 1, 7, 50))
            if limit is not None:
                query["limit"] = str(limit)
            wait = 0.0
            if waits:
                # The first question finds the place; only then is there something to lose.
                wait = 0.0 if self.cursor is None else round(chance.random() * 3, 1)
                if chance.random() < 0.3 and wait >= 1:
                    headers["Prefer"] = f"wait={int(wait)}"
                else:
                    query["wait"] = f"{wait:g}"
            elif chance.random() < 0.3:
                query["transport"] = "polling"
            if etag and chance.random() < 0.5:
                headers["If-None-Match"] = etag
            session.events.append(("ask", self.cursor, limit))
            link.patience = wait + 4.0
            await link.send(
                b"GET %b HTTP/1.1\r\nHost: tidings.test\r\n%b\r\n"
                % (
                    self._target(query).encode(),
                    b"".join(b"%b: %b\r\n" % (k.encode(), v.encode()) for k, v in headers.items()),
                )
            )
            if stalls and time.monotonic() > stall_at:
                await asyncio.sleep(stalls)
                stalls = 0.0
            answer = await link.answer()
            more = False
            if answer.status == 304:
                session.events.append(("same",))
            elif answer.status == 200:
                more = self._answered(session, answer.body)
                if answer.headers.get("etag") != f'"{session.events[-1][1]}"':
                    raise Malformed(f"the ETag {answer.headers.get('etag')} of {session.events[-1]}")
            elif answer.status in (502, 503):
                raise Cut(f"answered {answer.status}")
            else:
                raise Malformed(f"a poll was answered {answer.status} {answer.body[:300]!r}")
            etag = answer.headers.get("etag", "")
            self.live = True
            if answer.headers.get("connection") == "close":
                raise Cut("the server closes")
            if not more and not waits:
                await asyncio.sleep(chance.random() * 0.3 * self._pace)

    def _answered(self, session: Session, body: bytes) -> bool:
        """Take an answer; return whether there is more."""
        fields = parsed(body)
        for text in raws(fields["gap"]) if "gap" in fields else ():
            self._note_gap(session, json.loads(text))
        messages = raws(fields["messages"])
        for text in messages:
            session.events.append(("message", *self._book.saw(text, str(session))))
        cursor: str = json.loads(bytes(fields["cursor"]))
        more = "more" in fields
        session.events.append(("answer", cursor, more, now_ms()))
        here, before = cursor_of(cursor), cursor_of(self.cursor) if self.cursor else None
        lower = before is not None and before.epoch == here.epoch and here.position < before.position
        if not (lower and not messages and self._keeps_higher):
            self._stand(cursor)
        return more

    # --- event streams -----------------------------------------------------------------------------

    async def _listen(
        self,
        link: Link,
        session: Session,
        plan: _Plan,
        chance: random.Random,
        ends: float,
        stop: asyncio.Event,
    ) -> None:
        query, headers = self._query(session, chance)
        if chance.random() < 0.3:
            query["transport"] = "sse"
        link.patience = 5.0
        events = await Events.open(link, self._target(query), headers)
        stall_at = ends - plan.seconds * (1 - plan.stall_after)
        stalls = plan.stall
        while (left := ends - time.monotonic()) > 0 and not stop.is_set():
            if stalls and time.monotonic() > stall_at:
                await asyncio.sleep(stalls)
                ends += stalls
                stalls = 0.0
            link.patience = max(0.01, left)
            fields = await events.block()
            if "data" not in fields:
                continue
            value = json.loads(fields["data"])
            match fields.get("event"):
                case "ready":
                    session.events.append(("ready", value["cursor"], tuple(value["channels"])))
                    self.live = True
                    if self.cursor is None:
                        self._stand(value["cursor"])
                    if fields.get("id") != value["cursor"]:
                        raise Malformed(
                            f"ready has the id {fields.get('id')} and the cursor {value['cursor']}"
                        )
                case "gap":
                    self._note_gap(session, value)
                    if "id" in fields and not self._like_a_browser and self._together:
                        self._stand(min(self._together, key=lambda text: cursor_of(text).position))
                case "advice":
                    pass
                case "end":
                    session.events.append(("end", value["code"]))
                case _:
                    identity, channel = self._book.saw(fields["data"].encode(), str(session))
                    session.events.append(("message", identity, channel))
                    if fields.get("id") != identity or fields.get("event") != value.get("event"):
                        raise Malformed(f"the fields of {identity} are {list(fields)}")
                    if not self._like_a_browser:
                        self._stand(identity)
            if self._like_a_browser and "id" in fields:
                self._stand(fields["id"])

    # --- WebSockets --------------------------------------------------------------------------------

    async def _converse(
        self,
        link: Link,
        session: Session,
        plan: _Plan,
        chance: random.Random,
        ends: float,
        stop: asyncio.Event,
    ) -> None:
        query, headers = self._query(session, chance)
        link.patience = 5.0
        socket = await Socket.open(link, self._target(query), headers)
        stall_at = ends - plan.seconds * (1 - plan.stall_after)
        stalls = plan.stall
        changes_at = ends - plan.seconds * chance.random() if chance.random() < 0.7 else ends + 100
        self._obeyed = ref = 0
        link.patience = plan.seconds + plan.stall + 5.0
        saying = asyncio.ensure_future(socket.said())
        try:
            while (left := ends - time.monotonic()) > 0 and not stop.is_set():
                now = time.monotonic()
                if stalls and now > stall_at:
                    await asyncio.sleep(stalls)
                    ends += stalls
                    stalls = 0.0
                if now > changes_at and self.live and self._obeyed == ref:
                    ref += 1
                    changes_at = now + 0.5 if chance.random() < 0.6 else ends + 100
                    await self._change(socket, session, chance, ref)
                # Not a deadline of the read: a change may be due while half a frame has come.
                done, _ = await asyncio.wait((saying,), timeout=min(left, 0.3))
                if done:
                    self._said(session, saying.result())
                    saying = asyncio.ensure_future(socket.said())
            if plan.ending == "bye":
                link.patience = 2.0
                await socket.bye()
                while True:
                    self._said(session, await saying)
                    saying = asyncio.ensure_future(socket.said())
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)

    async def _change(self, socket: Socket, session: Session, chance: random.Random, ref: int) -> None:
        """Hear other channels, too, or some no more."""
        others = [channel for channel in self._every_channel if channel not in self.channels]
        if others and (len(self.channels) < 2 or chance.random() < 0.7) and len(self.channels) < 100:
            added = chance.sample(others, min(len(others), chance.randint(1, 3)))
            start: dict[str, object] = {}
            choice = chance.random()
            if choice < 0.4 and self._recent:
                start = {"after": chance.choice(list(self._recent))}
            elif choice < 0.5:
                start = {"after": "earliest"}
            elif choice < 0.6:
                start = {"rewind": 5}
            elif choice < 0.7:
                start = {"rewind": "2s"}
            session.events.append(("subscribe", ref, tuple(added), start))
            await socket.say("subscribe", {"channels": added, **start}, ref)
        elif len(self.channels) > 1:
            removed = (chance.choice(self.channels),)
            session.events.append(("unsubscribe", ref, removed))
            await socket.say("unsubscribe", {"channels": list(removed)}, ref)

    def _said(self, session: Session, text: bytes) -> None:
        """Take one message of the server's."""
        if text.startswith(b'{"message":'):
            self._stand_at_gaps()
            identity, channel = self._book.saw(text[11:-1], str(session))
            session.events.append(("message", identity, channel))
            self._stand(identity)
            return
        value: dict[str, Any] = json.loads(text)
        match next(iter(value)):
            case "ready":
                ready = value["ready"]
                session.events.append(("ready", ready["cursor"], tuple(ready["channels"])))
                self.live = True
                if self.cursor is None:
                    self._stand(ready["cursor"])
            case "gap":
                self._note_gap(session, value["gap"])
            case "ok":
                done = value["ok"]
                self._obeyed = value.get("ref", 0)
                if "channels" in done:
                    self.channels = tuple(sorted(done["channels"]))
                    session.events.append(
                        ("ok", value.get("ref"), tuple(done["channels"]), done.get("cursor"), now_ms())
                    )
                if "cursor" in done:
                    self._together = []
                    self._stand(done["cursor"])
            case "end":
                session.events.append(("end", value["end"]["code"]))
            case "advice":
                pass
            case "error" if value["error"]["code"] == "log_unavailable":
                # As a poll's 503: where a cursor stands cannot be asked while the engine is frozen.
                raise Cut("answered log_unavailable")
            case _:
                raise Malformed(f"the server said {text[:300]!r}")

    # --- where the client stands -------------------------------------------------------------------

    def _note_gap(self, session: Session, gap: dict[str, str]) -> None:
        session.events.append(("gap", gap["channel"], gap["after"], gap["resumed"], gap["reason"], now_ms()))
        if gap["reason"] != "retention":
            self._together.append(gap["resumed"])

    def _stand_at_gaps(self) -> None:
        """A message behind gaps: the cursor moves over them first (spec §3.3)."""
        if self._together:
            self._stand(min(self._together, key=lambda text: cursor_of(text).position))

    def _stand(self, cursor: str) -> None:
        self._together = []
        self.cursor = cursor
        self._recent.append(cursor)

    def cut(self) -> None:
        """Drop the connection of the moment, from outside."""
        if self._link is not None:
            self._link.abort(reset=True)

    # --- the end -----------------------------------------------------------------------------------

    async def finish(self, marks: dict[str, str], seconds: float) -> None:
        """Come back undisturbed until everything up to the last marks has been heard; `seconds` at most."""
        deadline = time.monotonic() + seconds
        chance = random.Random(f"{self._seed}/{self.name}/end")
        never = asyncio.Event()
        goal = max(cursor_of(marks[channel]).position for channel in self.channels)
        epoch = cursor_of(marks[self.channels[0]]).epoch
        turn = chance.randrange(4)
        while time.monotonic() < deadline:
            here = cursor_of(self.cursor) if self.cursor else None
            if here is not None and here.epoch == epoch and here.position >= goal:
                return
            self._serial += 1
            turn += 1
            plan = _Plan(TRANSPORTS[turn % 4], True, 1.0, 1.0, 0.0, "close", 0.0, "", False)
            # No changes of channels any more: this chance never says so.
            await self._connection(plan, _Settled(turn), never)
        self._book.broken.append(
            f"{self.name} came back for {seconds:g} s and never heard up to {epoch}-{goal}; "
            f"it stands at {self.cursor}"
        )


class _Settled(random.Random):
    """Chance that always says the same: nothing unusual."""

    def random(self) -> float:
        return 0.999
