"""How many descriptors the server has, and what becomes of those for whom there are none."""

import re
import resource
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

import pytest

import raw
from kit import ServerProcess, serving
from raw import ask, head_of
from server import crew
from story.clients import connect


@pytest.fixture(autouse=True)
async def _connections() -> AsyncIterator[None]:
    yield
    await raw.close_all()


def serving_with(soft: int, hard: int, *flags: str) -> AbstractContextManager[ServerProcess]:
    """Yield a server that may have so many descriptors."""
    return serving(*flags, limits={resource.RLIMIT_NOFILE: (soft, hard)})


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_soft_limit_of_descriptors_is_raised_to_what_connections_need(workers: str) -> None:
    with serving_with(300, 4_000, "--connections", "2000", "--workers", workers, "--drain", "0") as server:
        each = 2_000 // int(workers)
        for pid in (server.pid, *crew.workers(server)):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            assert each < soft < each + 500
            assert hard == 4_000
    assert "too_few_descriptors" not in "".join(server.errors)


async def test_where_descriptors_do_not_suffice_fewer_connections_are_taken_and_the_rest_is_told() -> None:
    with serving_with(100, 100, "--drain", "0") as server:
        [line] = [line for line in server.errors if "too_few_descriptors" in line]
        most = int(re.search(r" connections=(\d+)", line)[1])  # type: ignore[index]
        assert 40 <= most < 90
        assert "raise LimitNOFILE" in line
        for _ in range(most):
            await connect(server, "websocket", "news")
        for _ in range(5):
            answer, _ = await raw.exchange(server, head_of("GET", "/channels/news"))
            assert (answer.status, answer.json["code"]) == (503, "too_many_connections")
        assert (await ask(server, "GET", "/readyz")).status == 200
