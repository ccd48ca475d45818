"""The game's world: what the referee lets happen, without a server."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REFEREE = Path(__file__).parents[2] / "examples" / "game" / "referee.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("referee", REFEREE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["referee"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


referee: Any = load()


@pytest.fixture
def world() -> Any:
    return referee.World(random.Random(7))


def push(who: str, dx: float, dy: float, n: int = 1) -> dict[str, Any]:
    return {"id": who, "name": who, "dx": dx, "dy": dy, "n": n}


def test_a_disc_moves_where_it_is_pushed_and_never_leaves_the_arena(world: Any) -> None:
    world.heed(push("a", 1, 0, n=5), 0.0)
    before = world.players["a"].x
    for _ in range(15):
        world.step(0.5)
    assert world.players["a"].x > before
    assert world.state("life")["players"][0][6:] == [5, 1], "input 5 was heeded from tick 1 on"
    for _ in range(300):
        world.step(0.5)
        player = world.players["a"]
        assert player.size <= player.x <= referee.WIDTH - player.size


def test_nobody_pushes_harder_by_saying_so(world: Any) -> None:
    world.heed(push("a", 1e9, 0), 0.0)
    assert world.players["a"].dx == pytest.approx(1)


def test_a_dot_that_is_touched_is_a_point_and_grows_elsewhere(world: Any) -> None:
    world.heed(push("a", 0, 0), 0.0)
    player = world.players["a"]
    world.dots = [(player.x, player.y)]
    world.step(0.1)
    assert player.points >= 1
    world.step(0.1)
    assert len(world.dots) >= referee.DOTS - player.points


def test_discs_that_meet_bounce_and_do_not_overlap(world: Any) -> None:
    world.heed(push("a", 1, 0), 0.0)
    world.heed(push("b", -1, 0), 0.0)
    a, b = world.players["a"], world.players["b"]
    a.x, a.y, a.vx = 700.0, 500.0, 500.0
    b.x, b.y, b.vx, b.points = 760.0, 500.0, -100.0, 3
    a.dx = b.dx = 0.0
    for _ in range(3):
        world.step(0.1)
    assert b.x - a.x >= a.size + b.size - 1
    assert a.vx < 500 / 2
    assert b.vx > 0


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "x",
        [],
        {},
        {"id": 1, "name": "a", "dx": 0, "dy": 0},
        {"id": "", "name": "a", "dx": 0, "dy": 0},
        {"id": "x" * 21, "name": "a", "dx": 0, "dy": 0},
        {"id": "a", "name": "a", "dx": "1", "dy": 0},
        {"id": "a", "name": None, "dx": 0, "dy": 0},
    ],
)
def test_what_is_no_input_is_passed_over(world: Any, odd: Any) -> None:
    world.heed(odd, 0.0)
    world.step(0.1)
    assert world.players == {}


def test_an_input_that_is_not_finite_moves_nobody(world: Any) -> None:
    world.heed(push("a", 0, 0), 0.0)
    world.heed(push("a", float("nan"), float("inf")), 0.0)
    world.step(0.1)
    assert world.players["a"].speed == 0


def test_who_leaves_or_is_silent_is_gone_and_the_arena_has_an_end(world: Any) -> None:
    for number in range(referee.PLAYERS + 5):
        world.heed(push(f"p{number}", 0, 0), 0.0)
    assert len(world.players) == referee.PLAYERS
    world.heed({"id": "p0", "leave": True}, 1.0)
    world.heed(push("p1", 0, 0), referee.GONE)
    world.step(referee.GONE + 1)
    assert set(world.players) == {"p1"}
