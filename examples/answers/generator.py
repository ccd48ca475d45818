"""Answer questions, a word at a time: what stands where a language model would.

    python examples/answers/generator.py [--url http://127.0.0.1:8080]

All is on one channel, `talk`. A page publishes a question (the event `question`); each word of the answer is
a message (`token`), and so is its end (`done`). What an answer says depends on the question and its id alone.
So when this program is started again, it reads the log, and goes on with the next word of each answer that
has no end yet.
"""

import argparse
import asyncio
import contextlib
import random
import re
import signal
import sys
from typing import Any

import tidings
from tidings.client import NotAcknowledged

CHANNEL = "talk"
AT_ONCE = 20  # answers that are written at the same time
WAITING = 200  # questions, with these; one more is not heard
QUESTION = 500  # characters of a question that are read

OPENINGS = (
    "Good question, and the short answer is: it depends on who waits, and where.",
    "It helps to begin with what goes over the wire.",
    "Let us take it step by step.",
)
CLOSINGS = (
    "Reload this page now, if you like: the words come back from the log, and the next one follows the last.",
    "If you open this page in a second window, it says the same: both read one log, each with a cursor.",
    "Switch the transport in the corner while the next answer comes. You will not see it in the words.",
)
# What a question is about → what there is to say of it.
TOPICS: dict[str, str] = {
    r"long": (
        "A long-poll is a question that the server does not answer until it has something to say. The "
        "answer comes the moment there is one, and then the client asks again. Nothing is asked in vain, "
        "but each batch of news costs a whole request, and a connection hangs for everybody who waits."
    ),
    r"poll": (
        "Polling is asking on a timer. Most answers are empty: with news once a minute and a question "
        "every five seconds, eleven of twelve are in vain. And what does come is late by half of the "
        "interval on average. In return it works everywhere, through every proxy, and needs nothing that "
        "stays open."
    ),
    r"sse|event|stream|token|word": (
        "Server-Sent Events are one HTTP answer that does not end. Each message is a few lines of text, "
        "and the id of the last one is all that a client must remember. When the connection is cut, it "
        "comes back with that id, and the server goes on behind it. For words that come one by one, in "
        "one direction, there is hardly anything simpler."
    ),
    r"socket|both|duplex": (
        "A WebSocket speaks both ways over one connection, with a few bytes around each message. It "
        "begins as HTTP and then leaves it, which is why some networks do not let it pass. It pays where "
        "a client says much, as in a game, or changes often what it listens to."
    ),
    r"cursor|resume|where": (
        "A cursor says how far a client has come: everything up to here was had. It is all the state a "
        "client has, for all its channels together. That is why a reload, a cut and a change of the "
        "transport are the same thing: asking again with the cursor in hand."
    ),
    r"reload|lose|lost|network|offline|cut|tunnel": (
        "When the network goes away, nothing is lost, because nothing was in flight that the log does not "
        "have. The words that were written meanwhile wait there. As soon as a connection is through "
        "again, they come in one piece, in order, each once."
    ),
    r"gap|missing|old": (
        "A log is finite. Whoever stays away for longer than it keeps messages cannot have them all, and "
        "is told so: a gap, in the place of what is missing. A program that hears of one fetches its "
        "state anew. What never happens is a hole that nobody mentions."
    ),
    r"slow|memory|many|scale": (
        "A reader that is slow does not make a queue grow. The server stops writing to it, remembers its "
        "place, and goes on from the log when it reads again. So ten thousand slow readers cost ten "
        "thousand places, and not ten thousand queues."
    ),
    r"order|twice|once": (
        "Every message has a number in one log, and everybody sees them in that order. A publisher that "
        "got no answer may send again with the same key, and it counts once. So a word of this answer "
        "cannot come twice, not even if the program that writes it is ended and started again."
    ),
    r"proxy|buffer|nginx": (
        "Proxies are the reason that there are four transports and not one. Some hold an event stream "
        "back until it ends, some cut what is silent for a minute, some do not pass a WebSocket on. A "
        "client that notices takes the next way that gets through, and tries the better one again later."
    ),
}


def answer(id_: str, question: str) -> list[str]:
    """Return the words of the answer, each with the space or line ends behind it."""
    chance = random.Random(id_)  # noqa: S311 - no secret
    fitting = [text for pattern, text in TOPICS.items() if re.search(pattern, question.lower())]
    others = [text for text in TOPICS.values() if text not in fitting]
    chance.shuffle(others)
    paragraphs = [
        chance.choice(OPENINGS),
        *(fitting + others)[: max(3, len(fitting))],
        chance.choice(CLOSINGS),
    ]
    return re.findall(r"\S+\s*", "\n\n".join(paragraphs))


class Writer:
    """The answers that are under way. `client` publishes them."""

    def __init__(self, client: tidings.Client) -> None:
        self._client = client
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._questions: dict[str, str] = {}  # by id, those without an end
        self._next: dict[str, int] = {}  # the word that follows those in the log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()  # by whoever reads

    def heed(self, message: tidings.Message) -> None:
        """Take a message of the channel, ours included."""
        data = message.data if isinstance(message.data, dict) else {}
        of = data.get("of")
        match message.event:
            case "question" if isinstance(data.get("text"), str) and len(self._questions) < WAITING:
                self._questions[message.id] = data["text"][:QUESTION]
            case "token" if of in self._questions and isinstance(data.get("n"), int):
                self._next[of] = max(self._next.get(of, 0), data["n"] + 1)
            case "done" if isinstance(of, str):
                self._questions.pop(of, None)
                self._next.pop(of, None)
            case "stop" if of in self._tasks:
                self._stopped.add(of)
                self._tasks[of].cancel()

    def begin(self) -> None:
        """Write what is not being written yet."""
        for of in self._questions.keys() - self._tasks.keys():
            self._tasks[of] = asyncio.create_task(self._write(of))

    async def _write(self, of: str) -> None:
        try:
            async with self._turns:
                words = answer(of, self._questions[of])
                chance = random.Random(of)  # noqa: S311 - no secret
                for n in range(self._next.get(of, 0), len(words)):
                    # As uneven as those for whom it stands.
                    await asyncio.sleep(chance.choice((0.02, 0.03, 0.05, 0.12)))
                    await self._say("token", of, n, text=words[n])
                await self._say("done", of, len(words))
        except asyncio.CancelledError:
            # Else it is we who are ended, and the next of us goes on.
            if of not in self._stopped:
                raise
            await self._say("done", of, self._next.get(of, 0), stopped=True)
        finally:
            self._tasks.pop(of, None)
            self._questions.pop(of, None)
            self._stopped.discard(of)

    async def _say(self, event: str, of: str, n: int, **more: Any) -> None:
        """Publish until it is known to be in the log. By its key it is said once, whoever says it."""
        while True:
            with contextlib.suppress(NotAcknowledged):
                key = f"{event}-{of}-{n}"
                await self._client.publish(
                    CHANNEL, {"of": of, "n": n, **more}, event=event, idempotency_key=key
                )
                return


async def run(url: str) -> None:
    async with tidings.connect(url) as client:
        writer = Writer(client)
        # Our own note says when we have read all that there was before we came.
        here = await client.publish(CHANNEL, {}, event="here")
        caught_up = False
        async for item in client.subscribe(CHANNEL, after="earliest"):
            if isinstance(item, tidings.Gap):
                caught_up = caught_up or item.reason == "epoch"  # our note went with the old log
                continue
            writer.heed(item)
            caught_up = caught_up or item.id == here.id
            if caught_up:
                writer.begin()


def main() -> None:
    options = argparse.ArgumentParser(description="Answer the questions on the channel `talk`.")
    options.add_argument("--url", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    chosen = options.parse_args()
    # Nothing needs to be put in order: what is in the log is said, and the rest is said by the next of us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    asyncio.run(run(chosen.url))


if __name__ == "__main__":
    main()
