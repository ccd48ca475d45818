"""The moments at which the lab publishes, and the loads that it refuses."""

import itertools
import math

import pytest

from tidings.lab.load import Load, LoadError


def waits(load: Load) -> list[float]:
    counted = [at for at in load.moments() if at > load.lead - 1e-9]
    return [later - earlier for earlier, later in itertools.pairwise(counted)]


def test_the_same_seed_gives_the_same_moments_and_another_gives_others() -> None:
    assert Load(seed=7).moments() == Load(seed=7).moments()
    assert Load(seed=7).moments() != Load(seed=8).moments()


@pytest.mark.parametrize("seed", range(5))
def test_the_counted_part_has_its_messages_and_waits_like_chance(seed: int) -> None:
    load = Load(rate=4.0, seconds=20.0, seed=seed)
    found = waits(load)
    assert len(found) == load.messages == 80
    assert sum(found) == pytest.approx(20.0)
    # Of an interval of time, the share without a message for so long is e^(-r·i), whatever i is.
    for interval in (0.1, 0.25, 0.5):
        share = sum(max(0.0, wait - interval) for wait in found) / 20.0
        assert share == pytest.approx(math.exp(-4.0 * interval), abs=0.01)


def test_the_waits_come_in_no_order() -> None:
    found = waits(Load(rate=10.0, seconds=20.0))
    mean = sum(found) / len(found)
    pairs = list(itertools.pairwise(found))
    covariance = sum((a - mean) * (b - mean) for a, b in pairs) / len(pairs)
    assert abs(covariance) < 0.3 * mean * mean  # in order it is nearly the variance, which is mean²


@pytest.mark.parametrize(
    ("load", "word"),
    [
        (Load(interval=0.05, rtt=0.1), "--rtt"),
        (Load(rate=1000, interval=1.0), "300 messages"),
        (Load(rate=0.1, seconds=5), "--seconds"),
    ],
)
def test_a_load_that_cannot_be_measured_is_refused_with_what_to_do(load: Load, word: str) -> None:
    with pytest.raises(LoadError, match=word):
        load.check()
    Load().check()
