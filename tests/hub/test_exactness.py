"""Every order of events that the hub may see, against the promises of delivery.

Clients publish nothing and remember one cursor. They come over any transport, are pushed back, cut and
resumed while messages are published, trimmed and forgotten and while the log begins new lives; each judges
all it is told (model.py). The faults this is known to find are listed at the end.
"""

import json

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub_model import Client, RecordingConnection, SocketReader, StreamReader, World
from tidings.core.history import Retention
from tidings.core.start import Earliest, Now, RewindCount, Start
from tidings.transports import long_polling, polling
from tidings.transports.ask import Ask, Transport, after
from tidings.transports.sse import EventStream
from tidings.transports.web_socket import WebSocket
from tidings.wire.http import Response

CHANNELS = ["a", "b", "c"]
CLIENTS = st.integers(0, 2)


class Exactness(RuleBasedStateMachine):
    """Three clients on three channels; windows of six messages; one write holds one or two."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Retention(count=6, age=20.0, bytes=20_000, marks=1), write_buffer=300)
        self.clients: list[Client] = []
        self.connections: dict[int, RecordingConnection] = {}
        self.readers: dict[int, StreamReader | SocketReader] = {}
        self.count = 0

    @initialize(wanted=st.lists(st.sets(st.sampled_from(CHANNELS), min_size=1), min_size=3, max_size=3))
    def begin(self, wanted: list[set[str]]) -> None:
        self.clients = [Client(tuple(sorted(channels)), self.world) for channels in wanted]

    # --- what happens to the server -------------------------------------------------------------

    @rule(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=9))
    def publish(self, channels: list[str]) -> None:
        for channel in channels:
            self.count += 1
            self.world.publish(channel, b'"%d %s"' % (self.count, b"x" * 90))

    @rule()
    def deliver(self) -> None:
        self.world.deliver()

    @rule(seconds=st.sampled_from([1, 15, 30]))
    def time_goes_by(self, seconds: int) -> None:
        self.world.now += seconds
        self.world.hub.trim()

    @rule()
    def settle(self) -> None:
        self.world.settle()

    @precondition(lambda self: self.world.lives < 4)
    @rule()
    def restart(self) -> None:
        for index in list(self.connections):
            self.cut(index)
        self.world.restart()

    @precondition(lambda self: self.world.lives < 4)
    @rule()
    def another_life(self) -> None:
        """The log begins another life while clients are connected: all are sent to come back."""
        for connection in self.connections.values():
            connection.push_back_after = None  # a last word is written whole
        self.world.another_life()
        for index, connection in list(self.connections.items()):
            if index in self.readers:
                assert connection.closed, "it was told of another life"
                assert connection.exchange is not None
                connection.exchange.lost()
                del self.connections[index], self.readers[index]
            else:
                assert connection.response is not None

    @rule()
    def lose(self) -> None:
        """This node was away for too long."""
        self.world.lose()

    # --- what happens to a client ---------------------------------------------------------------

    def _start(self, client: Client, otherwise: Start) -> Start:
        if client.cursor is not None:
            return after(client.cursor)
        client.position = 0  # a question without a cursor is a new client's
        if not isinstance(otherwise, Now):
            # Who asks for as much as there is misses nothing by what there is no more.
            client.epoch = self.world.log.epoch
            client.covered = {c: self.world.hub.history.lost_through(c) for c in client.channels}
        return otherwise

    @rule(
        index=CLIENTS, otherwise=st.sampled_from([Now(), Earliest(), RewindCount(2)]), limit=st.integers(1, 5)
    )
    def poll(self, index: int, otherwise: Start, limit: int) -> None:
        if index not in self.connections:
            client = self.clients[index]
            ask = Ask(client.channels, self._start(client, otherwise), Transport.POLLING, limit)
            self._answered(
                client, polling.answer(self.world.hub, ask, RecordingConnection()), asked_from=client.cursor
            )

    @rule(index=CLIENTS, otherwise=st.sampled_from([Now(), Earliest()]), limit=st.integers(1, 5))
    def long_poll(self, index: int, otherwise: Start, limit: int) -> None:
        if index in self.connections:
            return
        client, connection = self.clients[index], RecordingConnection()
        start = self._start(client, otherwise)
        if isinstance(start, Now):
            # Someone who parks without a cursor stands where the hub is.
            client.stand_at(self.world.hub.places.cursor(self.world.hub.position, ()))
            client.cursor = None
        ask = Ask(client.channels, start, Transport.LONG_POLLING, limit, wait=25.0)
        response = long_polling.answer(self.world.hub, ask, connection)
        if response is not None:
            self._answered(client, response, asked_from=client.cursor)
        else:
            self.connections[index] = connection

    @rule(index=CLIENTS)
    def deadline(self, index: int) -> None:
        connection = self.connections.get(index)
        if connection is not None and index not in self.readers and connection.response is None:
            assert connection.exchange is not None
            connection.exchange.expired()
            assert connection.response is not None

    def _answered(self, client: Client, response: Response, asked_from: str | None) -> None:
        body = json.loads(response.body)
        if asked_from is None and (client.position == 0 or client.epoch != self.world.log.epoch):
            first = body["messages"][0]["id"] if body["messages"] else body["cursor"]
            position = int(first.partition("-")[2]) - (1 if body["messages"] else 0)
            client.stand_at(f"{self.world.log.epoch}-{position}")
        for gap in body.get("gap", []):
            client.told_gap(gap)
        for message in body["messages"]:
            client.told_message(message)
        if not body.get("more"):
            client.has_everything()
        client.cursor = body["cursor"]
        # An empty answer's cursor is that of the channels' last message: all at the tail ask alike.
        # What lies between it and what the client has is on other channels, or has been told.
        client.position = int(body["cursor"].partition("-")[2])

    @rule(
        index=CLIENTS,
        web_socket=st.booleans(),
        direct=st.booleans(),
        otherwise=st.sampled_from([Now(), Earliest(), RewindCount(3)]),
        push_back_after=st.sampled_from([None, None, 1, 2, 3]),
    )
    def stream(
        self, index: int, web_socket: bool, direct: bool, otherwise: Start, push_back_after: int | None
    ) -> None:
        if index in self.connections:
            return
        client = self.clients[index]
        connection = self.connections[index] = RecordingConnection(direct=direct)
        connection.push_back_after = push_back_after
        hub = self.world.hub
        exchange = (WebSocket if web_socket else EventStream)(hub, client.channels, connection)
        self.readers[index] = (SocketReader if web_socket else StreamReader)(client, connection)
        exchange.begin(Response(200), hub.places.locate(client.channels, self._start(client, otherwise)))

    @rule(index=CLIENTS, writes=st.sampled_from([0, 1, 2]))
    def push_back(self, index: int, writes: int) -> None:
        connection = self.connections.get(index)
        if connection is not None and index in self.readers and not connection.pushed_back:
            if writes:
                connection.push_back_after = writes
            else:
                connection.push_back()

    @rule(index=CLIENTS)
    def take_again(self, index: int) -> None:
        connection = self.connections.get(index)
        if connection is not None and connection.pushed_back:
            connection.take_again()

    @rule(index=CLIENTS)
    def cut(self, index: int) -> None:
        """The connection breaks; what was written has arrived, or its last part has not."""
        connection = self.connections.pop(index, None)
        if connection is None:
            return
        assert connection.exchange is not None
        connection.exchange.lost()
        reader = self.readers.pop(index, None)
        if reader is not None:
            del connection.written[len(connection.written) // 2 + 1 :]
            reader.read()

    @rule(index=CLIENTS)
    def drain(self, index: int) -> None:
        """The server would like to be rid of a client: not before it was written all that was delivered."""
        connection = self.connections.get(index)
        if connection is None or connection.response is not None or connection.pushed_back:
            return
        connection.push_back_after = None
        assert connection.exchange is not None
        client, reader = self.clients[index], self.readers.get(index)
        if not connection.exchange.drain(1_000, "shutting_down"):
            assert self.world.hub.position > client.position, "who has everything may go"
            return
        if reader is None:
            return  # a waiter was answered; the answer is judged like any other
        reader.read()
        client.has_everything()
        assert connection.closed
        del self.connections[index], self.readers[index]
        connection.exchange.lost()

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def what_was_told_is_right(self) -> None:
        for index, connection in list(self.connections.items()):
            reader = self.readers.get(index)
            if reader is not None:
                reader.read()
                if not connection.pushed_back and not self.world.soon:
                    self.clients[index].has_everything()
            elif connection.response is not None:
                del self.connections[index]
                client = self.clients[index]
                self._answered(client, connection.response, asked_from=client.cursor)

    @invariant()
    def nobody_is_forgotten_or_left_behind(self) -> None:
        hub = self.world.hub
        waiting = sum(1 for c in self.connections.values() if not c.pushed_back and c.response is None)
        assert hub.cohorts.live + len(hub._ahead) + len(hub._refilling) <= waiting
        if not self.world.soon and not hub._ahead:
            assert hub.cohorts.live == waiting

    def teardown(self) -> None:
        for index, connection in list(self.connections.items()):
            if connection.pushed_back:
                self.take_again(index)
        self.world.settle()
        self.what_was_told_is_right()
        for index in list(self.connections):
            self.cut(index)
        # Everyone comes back once more, and has everything.
        for index in range(len(self.clients)):
            for _ in range(100):
                before = self.clients[index].cursor
                self.poll(index, Now(), 5)
                if self.clients[index].cursor == before:
                    break
            self.clients[index].has_everything()
        assert self.world.hub.cohorts.live == len(self.world.hub.cohorts) == 0
        assert not self.world.hub.cohorts._by_channel


Exactness.TestCase.settings = settings(max_examples=300, stateful_step_count=50)
TestExactness = Exactness.TestCase
