"""The load without a server: what it says it appended was acknowledged, and has come back."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
from harness import engines, processes
from harness.engines import Engine

_KINDS: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "sqlite": partial(engines.sqlite, "synced"),
    "redis": partial(engines.redis, "everysec"),
    "nats": engines.nats,
}
_WORDS = ("--burst", "0.3", "--paced", "0.5", "--rate", "100")


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("ours", [True, False], ids=["our log", "bare client"])
def test_what_was_appended_came_back(kind: str, ours: bool) -> None:
    with _KINDS[kind]() as engine:
        told = engines.without_server("log" if ours else kind, engine, *_WORDS, on=processes.CORES)
    assert told["burst"]["messages"] > 0
    assert told["paced"]["messages"] == 50
    assert 0 < told["paced"]["delay_p50"] <= told["paced"]["delay_p99"] < 10
    if engine.pid:
        assert told["burst"]["engine_cpu"] > 0


def test_a_log_in_memory_is_loaded_too() -> None:
    told = engines.without_server("log", engines.NO_ENGINE, *_WORDS, on=processes.CORES)
    assert told["burst"]["messages"] > 0


def test_an_engine_that_is_not_there_is_said() -> None:
    with pytest.raises(RuntimeError, match="without a server"):
        engines.without_server("redis", Engine("redis://127.0.0.1:1"), *_WORDS)
