"""docs/four-transports.md: its exchanges are the server's, and its figures those of a fresh run.

The figures may differ by this much: requests, empty answers and bytes follow from the load, and differ by a
few messages at the ends of the run; delays have the machine in them, and are not compared where it was busy.
"""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

from kit import ServerProcess, serving
from tidings.lab.look import LOOKS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "four-transports.md").read_text()
COUNTED: Final = 0.05  # of a figure
TIMED: Final = 0.15  # of a figure
EXCHANGES: Final = re.findall(r"^```http\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def publish(server: ServerProcess, n: int) -> None:
    request = urllib.request.Request(
        f"{server.url}/channels/news", b'{"n":%d}' % n, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


def read_until(connection: socket.socket, came: bytes, mark: bytes) -> bytes:
    while mark not in came:
        piece = connection.recv(65536)
        assert piece, f"the server closed after {came!r}"
        came += piece
    return came


def alike(text: str) -> str:
    """Return an exchange without what is another one each time: epoch, moments, and lengths by them."""
    text = re.sub(r"\b[0-9a-z]+-(?=\d)", "EPOCH-", text)
    text = re.sub(r'"time":\d+', '"time":0', text)
    text = re.sub(r"(?m)^Date: .*$", "Date:", text)
    return re.sub(r"(?m)^Content-Length: \d+$", "Content-Length:", text)


def test_the_exchanges_are_what_the_server_says() -> None:
    polling, long_polling, sse, web_socket = EXCHANGES
    with serving() as server:
        began = time.monotonic()
        publish(server, 1)
        with urllib.request.urlopen(f"{server.url}/channels/news?rewind=1") as answer:
            epoch = json.load(answer)["cursor"].partition("-")[0]

        def exchange(documented: str, mark: str, then: int | None) -> None:
            """Send the documented request, publish `then` when it waits, and compare what has come."""
            request, _, expected = documented.partition("\n\n")
            head = request.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}").replace("9f3k", epoch)
            with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
                connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
                came = b""
                if then is not None:
                    waiting = b"ready" if "wait=" not in request else b""
                    if waiting:
                        came = read_until(connection, came, waiting)
                    publish(server, then)
                came = read_until(connection, came, mark.encode())
            found = came.decode("latin-1").replace("\r\n", "\n")
            # A frame's head is two bytes here, and in hexadecimal in the page.
            found = re.sub(r"\x81([\x00-\x7d])", lambda of: f"\n81 {ord(of[1]):02x} ", found)
            found = found.replace("\n\n\n81", "\n\n81")
            if time.monotonic() - began > 0.24:  # the older the message is, the seldomer asking is advised
                found = re.sub(r'"poll_ms":(500|1000|2000|5000|10000)\b', '"poll_ms":250', found)
            assert alike(found).strip() == alike(lengths(expected, epoch)).strip()

        exchange(polling, "poll_ms", None)
        exchange(long_polling, '"}', 2)
        exchange(sse, '"n":3}}\n\n', 3)
        exchange(web_socket, '"n":4}}}', 4)


def lengths(expected: str, epoch: str) -> str:
    """Return documented frames with their lengths as they are with the server's longer epoch."""

    def longer(frame: re.Match[str]) -> str:
        payload = frame[2].replace("9f3k", epoch)
        assert int(frame[1], 16) == len(frame[2]), "the page's own length is wrong"
        return f"81 {len(payload):02x} {frame[2]}"

    return re.sub(r"(?m)^81 ([0-9a-f]{2}) (\{.*\})$", longer, expected)


def test_the_pages_own_lengths_are_right() -> None:
    for exchange in EXCHANGES:
        for length, body in re.findall(r"Content-Length: (\d+)\n\n(\{.*\})\n", exchange):
            assert int(length) == len(body)


def test_each_picture_stands_above_the_command_that_draws_it() -> None:
    for name in ("measured", "map"):
        picture = ROOT / "docs" / "four-transports" / f"{name}.png"
        assert picture.is_file()
        assert re.search(
            rf"\(four-transports/{name}\.png\)\n\n```sh\ntidings lab .*--plot {name}\.png\n```", PAGE
        )


def documented() -> dict[str, list[float | None]]:
    """Return the page's table: for each title four numbers, None where there are none."""
    table = PAGE.split("<!-- figures:", 1)[1].split("\n\n")[1]
    rows = {}
    for line in table.splitlines()[2:]:
        title, *cells = (cell.strip() for cell in line.split("|")[1:-1])
        numbers = [re.match(r"[\d.,]+", cell) for cell in cells]
        rows[title] = [float(number[0].replace(",", "")) if number else None for number in numbers]
    return rows


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_the_figures_are_those_of_a_fresh_run() -> None:
    found: dict[str, Any] = {}
    for _ in range(3):
        command = [sys.executable, "-m", "tidings", "lab", "--json"]
        found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=110).stdout)
        if not found["disturbed"]:
            break
    page = documented()
    for place, (transport, of) in enumerate((name, found["transports"][name]) for name in LOOKS):
        fresh = {
            "requests": of["requests"] / of["delivered"],
            "bytes up": of["bytes_up_per_message"],
            "bytes down": of["bytes_down_per_message"],
        }
        for title, value in fresh.items():
            assert value == pytest.approx(page[title][place], rel=COUNTED), f"{title}, {transport}"
        empty = page["answers with nothing in them"][place]
        assert of["empty_share"] * 100 == pytest.approx(empty or 0.0, abs=2.0)
        if not found["disturbed"]:
            assert of["delay_mean_s"] * 1000 == pytest.approx(page["delay, mean"][place], rel=TIMED)
    (message,) = re.findall(r"own JSON is (\d+) bytes", PAGE)
    assert found["sizes"]["polling"]["message"] == pytest.approx(int(message), abs=3)
