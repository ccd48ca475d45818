"""DNS rebinding: a name of somebody else's that leads to this machine does not make their page ours."""

import pytest

from kit import ServerProcess, serving
from raw import ask

NAME = "rebound.example:8080"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": NAME, "Origin": f"http://{NAME}"},
        {"Host": NAME, "Sec-Fetch-Site": "same-origin"},
    ],
    ids=["a post of theirs", "a get of theirs, which bears no origin"],
)
async def test_a_page_under_a_foreign_name_is_refused_on_loopback(
    server: ServerProcess, headers: dict[str, str]
) -> None:
    answer = await ask(server, "GET", "/channels/news", headers)
    assert (answer.status, answer.json["code"]) == (403, "origin_refused")
    assert "--allow-origin" in answer.json["detail"]
    assert NAME in answer.json["detail"] or "Origin" in headers
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1", "app.localhost:1", "localhost"])
async def test_a_page_of_this_machine_is_let_in(server: ServerProcess, host: str) -> None:
    for headers in (
        {"Host": host, "Origin": f"http://{host}"},
        {"Host": host, "Sec-Fetch-Site": "same-origin"},
    ):
        assert (await ask(server, "GET", "/channels/news", headers)).status == 200


async def test_a_proxy_on_this_machine_names_its_origin() -> None:
    headers = {"Host": NAME, "Sec-Fetch-Site": "same-origin"}
    with serving("--allow-origin", f"https://{NAME}") as server:
        assert (await ask(server, "GET", "/channels/news", headers)).status == 200


async def test_what_is_no_page_may_use_any_name(server: ServerProcess) -> None:
    assert (await ask(server, "GET", "/channels/news", {"Host": NAME})).status == 200
