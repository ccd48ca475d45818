"""The golden bytes of spec/vectors, against tidings.wire.

Each file says in `about` what its inputs and outcomes mean; other implementations test against them, too.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidings.client import cursor as client_cursors
from tidings.client.items import Gap as TheirGap
from tidings.client.items import Message as TheirMessage
from tidings.client.place import Place
from tidings.core.errors import CODES, Refusal
from tidings.core.message import Cursor, Durability, Gap, GapReason, Message, Receipt
from tidings.wire import cursor as cursors
from tidings.wire import envelope, event_stream, web_socket
from tidings.wire.publication import Publication, read_line

FOLDER = Path(__file__).parents[2] / "spec" / "vectors"


def vectors(file: str, group: str) -> pytest.MarkDecorator:
    """Return one parameter set a vector, named as it is."""
    found = json.loads((FOLDER / f"{file}.json").read_text())[group]
    return pytest.mark.parametrize("vector", [pytest.param(one, id=one["name"]) for one in found])


def as_message(value: dict[str, Any]) -> Message:
    return Message(
        value["epoch"],
        int(value["position"]),
        value["channel"],
        value["time_ms"],
        value["data"].encode(),
        value["event"],
        value["key"],
    )


def as_gap(value: dict[str, str]) -> Gap:
    resumed = cursors.decode(value["resumed"])
    assert resumed is not None
    return Gap(value["channel"], value["after"], resumed, GapReason(value["reason"]))


def test_every_vector_has_a_name_of_its_own_and_says_what_is_expected() -> None:
    for file in sorted(FOLDER.glob("*.json")):
        content = json.loads(file.read_text())
        assert content["about"], file.name
        groups = [group for group in content.values() if isinstance(group, list)]
        assert groups, file.name
        for group in groups:
            names = [vector["name"] for vector in group]
            assert len(set(names)) == len(names), file.name
            assert all(set(vector) == {"name", "input", "expected"} for vector in group), file.name


# --- cursors ------------------------------------------------------------------------------------


@vectors("cursors", "read")
def test_cursor_is_read_or_found_to_be_none(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    found = cursors.decode(vector["input"])
    if expected is None:
        assert found is None
    else:
        assert found == Cursor(expected["epoch"], int(expected["position"]))
        assert cursors.encode(found) == vector["input"]


@vectors("cursors", "read")
def test_client_reads_a_cursor_of_a_log_without_partitions(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    found = client_cursors.read(vector["input"])
    assert found == (expected and (expected["epoch"], {None: int(expected["position"])}))


@vectors("cursors", "partitions")
def test_client_reads_a_cursor_of_a_log_with_partitions(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    found = client_cursors.read(vector["input"])
    if expected is None:
        assert found is None
    else:
        positions = {int(at): int(position) for at, position in expected["positions"].items()}
        assert found == (expected["epoch"], positions)


def told(message_id: str) -> TheirMessage:
    return TheirMessage(message_id, "news", 0, None, None, b"1", b"{}")


@vectors("cursors", "had")
def test_client_drops_what_it_has_had(vector: dict[str, Any]) -> None:
    place = Place(vector["input"]["cursor"])
    taken = place.take(told(vector["input"]["id"]))
    assert (taken is None) is vector["expected"]


@vectors("cursors", "take")
def test_client_stands_at_the_higher_position_in_each_partition(vector: dict[str, Any]) -> None:
    place = Place(vector["input"]["cursor"])
    place.take(told(vector["input"]["id"]))
    assert place.cursor == vector["expected"]


@vectors("cursors", "told")
def test_client_takes_each_once_in_whatever_interleaving_it_comes(vector: dict[str, Any]) -> None:
    place = Place(vector["input"]["cursor"])
    messages = vector["input"]["messages"]
    taken = [one["name"] for one in messages if place.take(told(one["id"])) is not None]
    assert (taken, place.cursor) == (vector["expected"]["taken"], vector["expected"]["cursor"])


# --- messages, gaps, answers --------------------------------------------------------------------


@vectors("messages", "messages")
def test_message_is_rendered_for_each_transport(vector: dict[str, Any]) -> None:
    message, expected = as_message(vector["input"]), vector["expected"]
    assert envelope.message(message).decode() == expected["json"]
    assert event_stream.message(message).decode() == expected["event_stream"]
    frame = expected["web_socket"]
    assert web_socket.message(message) == bytes.fromhex(frame["head"]) + frame["text"].encode()
    # The data is the publisher's, byte for byte, and the whole is JSON.
    assert json.loads(expected["json"])["data"] == json.loads(vector["input"]["data"])


@vectors("messages", "messages")
def test_stream_of_a_message_is_read_as_the_message(vector: dict[str, Any]) -> None:
    (event,) = event_stream.Parser().feed(vector["expected"]["event_stream"].encode())
    sent = json.loads(vector["expected"]["json"])
    assert json.loads(event.data) == sent
    assert event.id == sent["id"]
    assert event.event == sent.get("event", "message")


@vectors("gaps", "gaps")
def test_gap_is_told_on_each_transport(vector: dict[str, Any]) -> None:
    gaps, expected = [as_gap(one) for one in vector["input"]["gaps"]], vector["expected"]
    cursor = vector["input"]["cursor"]
    assert [envelope.gap(gap).decode() for gap in gaps] == expected["json"]
    assert [json.loads(text) for text in expected["json"]] == vector["input"]["gaps"]
    assert event_stream.gaps(gaps, cursor).decode() == expected["event_stream"]
    frames = b"".join(bytes.fromhex(one["head"]) + one["text"].encode() for one in expected["web_socket"])
    assert web_socket.gaps(gaps, cursor) == frames


@vectors("gaps", "follow")
def test_client_follows_a_gap(vector: dict[str, Any]) -> None:
    place = Place(vector["input"]["cursor"])
    for gap in vector["input"]["gaps"]:
        assert place.take(TheirGap(**gap)) == TheirGap(**gap)
    place.settle()
    assert place.cursor == vector["expected"]


@vectors("answers", "answers")
def test_answer_to_a_poll(vector: dict[str, Any]) -> None:
    found = vector["input"]
    body = envelope.answer(
        [as_message(one) for one in found["messages"]],
        found["cursor"],
        [as_gap(one) for one in found["gaps"]],
        more=found["more"],
        advice=found["advice"],
    )
    assert body.decode() == vector["expected"]
    assert json.loads(body)["cursor"] == found["cursor"]


# --- publishing and errors ----------------------------------------------------------------------


@vectors("publishing", "data")
def test_data_is_kept_as_it_is_or_refused(vector: dict[str, Any]) -> None:
    given = vector["input"]
    body = bytes.fromhex(given["hex"]) if "hex" in given else given["text"].encode()
    if vector["expected"] is None:
        with pytest.raises(Refusal) as refused:
            envelope.check_json(body)
        assert refused.value.kind.code == "bad_json"
    else:
        assert envelope.check_json(body).decode() == vector["expected"]


@vectors("publishing", "lines")
def test_line_of_a_batch(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    if "code" in expected:
        with pytest.raises(Refusal) as refused:
            read_line(vector["input"].encode())
        assert refused.value.kind.code == expected["code"]
        return
    draft = read_line(vector["input"].encode())
    assert {
        "channel": draft.channel,
        "data": draft.data.decode(),
        "event": draft.event,
        "key": draft.key,
        "idempotency_key": draft.idempotency_key,
    } == expected


@vectors("publishing", "receipts")
def test_receipt(vector: dict[str, Any]) -> None:
    said = vector["input"]
    receipt = Receipt(
        Cursor(said["epoch"], int(said["position"])), Durability(said["durability"]), said["duplicate"]
    )
    assert envelope.encode(envelope.receipt(receipt)).decode() == vector["expected"]


@vectors("problems", "problems")
def test_problem(vector: dict[str, Any]) -> None:
    given = vector["input"]
    problem = envelope.problem(CODES[given["code"]], given["detail"])
    assert envelope.encode(problem).decode() == vector["expected"]


# --- event streams ------------------------------------------------------------------------------


@vectors("event_stream", "write")
def test_event_stream_is_written(vector: dict[str, Any]) -> None:
    said = dict(vector["input"])
    match said.pop("say"):
        case "opening":
            written = event_stream.opening(**said)
        case "event":
            written = event_stream.event(**said)
        case "retry":
            written = event_stream.retry(**said)
        case _:
            written = event_stream.COMMENT
    assert written.decode() == vector["expected"]


def _pieces(stream: bytes, cuts: str | list[int]) -> Iterator[list[bytes]]:
    """Yield every way to cut `stream` that a vector asks for."""
    if isinstance(cuts, list):
        ends = [0, *cuts, len(stream)]
        yield [stream[start:end] for start, end in pairwise(ends)]
        return
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]


@vectors("event_stream", "parse")
def test_event_stream_is_read_wherever_it_is_cut(vector: dict[str, Any]) -> None:
    given = vector["input"]
    stream = bytes.fromhex(given["hex"]) if "hex" in given else given["text"].encode()
    for pieces in _pieces(stream, given["cuts"]):
        parser = event_stream.Parser()
        events = [event for piece in pieces for event in parser.feed(piece)]
        told = [{"event": e.event, "data": e.data, "id": e.id, "retry_ms": e.retry_ms} for e in events]
        assert told == vector["expected"], pieces


# --- WebSocket frames ---------------------------------------------------------------------------


def test_ping_is_an_empty_frame() -> None:
    assert bytes.fromhex(json.loads((FOLDER / "web_socket.json").read_text())["ping"]) == web_socket.PING


@vectors("web_socket", "text")
def test_text_frame(vector: dict[str, Any]) -> None:
    given = vector["input"]
    payload = (given["text"] if "text" in given else given["repeat"] * given["times"]).encode()
    assert web_socket.text(payload) == bytes.fromhex(vector["expected"]["head"]) + payload


@vectors("web_socket", "close")
def test_close_frame(vector: dict[str, Any]) -> None:
    assert web_socket.close(**vector["input"]).hex() == vector["expected"]


@vectors("web_socket", "say")
def test_what_the_server_says(vector: dict[str, Any]) -> None:
    said, payload = vector["input"], vector["expected"].encode()
    ref = None if said["ref"] is None else msgspec.Raw(said["ref"].encode())
    assert web_socket.say(said["word"], said["value"], ref) == web_socket.text(payload)
    json.loads(payload)


@vectors("web_socket", "command")
def test_what_a_client_says(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    if "code" in expected:
        with pytest.raises(web_socket.BadCommand) as refused:
            web_socket.command(vector["input"].encode())
        assert refused.value.kind.code == expected["code"]
        ref = refused.value.ref
        assert (None if ref is None else bytes(ref).decode()) == expected["ref"]
        return
    command = web_socket.command(vector["input"].encode())
    value = command.value
    told: dict[str, Any] = {"word": command.word}
    if isinstance(value, web_socket.Subscribe):
        told |= {"channels": value.names, "after": value.after, "rewind": value.rewind}
    elif isinstance(value, Publication):
        told |= {"channel": value.channel, "data": bytes(value.data).decode(), "event": value.event}
        told |= {"key": value.key, "idempotency_key": value.idempotency_key}
    told["ref"] = None if command.ref is None else bytes(command.ref).decode()
    assert told == expected
