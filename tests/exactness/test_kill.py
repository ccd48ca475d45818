"""kill -9 at many moments: a log in memory begins anew, says so to everyone, and never mixes two lives."""

import random
import sys

import pytest

from exactness.book import cursor_of
from exactness.nemesis import Blow
from exactness.run import Scale, new_seed, prove

KILLS = 50


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_after_each_kill_everyone_is_told_of_the_new_life_and_nothing_of_the_old_one_comes_back() -> (
    None
):
    seed = new_seed()
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(f"{seed}/kills")
    blows = [Blow(0.05 + 0.5 * chance.random(), "kill") for _ in range(KILLS)]
    scale = Scale(subscribers=16, broad=1, publishers=4, rate=30.0, burst=40, pace=0.2, forgets=False)
    verdict = await prove(seed, 0, scale, blows=blows)
    assert not verdict.faults, str(verdict)
    book = verdict.book
    assert len(set(book.epochs)) == KILLS + 1
    last = book.epochs[-1]
    for client, sessions in book.sessions.items():
        told = [event for session in sessions for event in session.events if event[0] == "gap"]
        assert any(
            reason == "epoch" and cursor_of(resumed).epoch == last for _, _, _, resumed, reason, _ in told
        ), f"{client} was never told of the last life (seed {seed})"
