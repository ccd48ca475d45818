"""The simulation against closed forms: where one can know what is right, it must say so."""

import math
import re
import subprocess
import sys
from itertools import repeat
from pathlib import Path
from random import Random

import pytest
from scaling import cluster, costs, deploys, engine, queues, report, storms
from scaling.cluster import Cluster

SIMULATE = Path(__file__).parents[2] / "bench" / "simulate.py"


# --- one queue ----------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_the_mean_wait_is_that_of_an_m_d_1_queue(load: float) -> None:
    arrivals = queues.poisson(load, 200_000, Random(3))
    found = [delay - 1 for delay in queues.delays(arrivals, queues.served(arrivals, repeat(1.0)))]
    assert sum(found) / len(found) == pytest.approx(queues.mean_wait(load, 1.0), rel=0.06)


def test_the_mean_wait_of_mixed_services_is_that_of_pollaczek_and_khinchine() -> None:
    chance = Random(4)
    services = [chance.choice((0.5, 1.5)) for _ in range(200_000)]
    arrivals = queues.poisson(0.6, len(services), chance)
    done = queues.served(arrivals, services)
    waits = [end - begin - service for begin, end, service in zip(arrivals, done, services, strict=True)]
    expected = queues.mean_wait(0.6, 1.0, second_moment=(0.25 + 2.25) / 2)
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_quantiles_of_the_wait_are_those_of_crommelin(share: float) -> None:
    arrivals = queues.poisson(0.7, 300_000, Random(5))
    waits = [delay - 1 for delay in queues.delays(arrivals, queues.served(arrivals, repeat(1.0)))]
    assert queues.wait_at_most(0.7, 1.0, queues.quantile(waits, share)) == pytest.approx(share, abs=0.006)


def test_a_full_server_has_no_mean_wait() -> None:
    assert math.isinf(queues.mean_wait(2.0, 0.5))
    assert math.isinf(queues.turn_length(2.0, 0.5, 1.0))


def test_a_joined_turn_holds_what_came_during_the_one_before() -> None:
    rate, each, turn = 5_000.0, 50e-6, 10e-3
    arrivals = queues.poisson(rate, 100_000, Random(6))
    done = queues.served_joined(arrivals, each, turn)
    turns = len(set(done))
    assert done[-1] / turns == pytest.approx(queues.turn_length(rate, each, turn), rel=0.05)


def test_joining_serves_rates_that_one_by_one_drown_at() -> None:
    arrivals = queues.poisson(2_000, 20_000, Random(7))
    joined = queues.delays(arrivals, queues.served_joined(arrivals, 10e-6, 1e-3))
    one_by_one = queues.delays(arrivals, queues.served(arrivals, repeat(1e-3 + 10e-6)))
    assert max(joined) < 0.01
    assert max(one_by_one) > 5


def test_nobody_is_done_before_he_came_nor_overtakes() -> None:
    arrivals = queues.poisson(900, 5_000, Random(8))
    for done in (queues.served(arrivals, repeat(1e-3)), queues.served_joined(arrivals, 1e-5, 1e-3, 1e-3)):
        assert len(done) == len(arrivals)
        assert done == sorted(done)
        assert all(end > begin for begin, end in zip(arrivals, done, strict=True))


# --- a log and its nodes ------------------------------------------------------------------------


def test_an_idle_cluster_is_as_late_as_its_services_are_long() -> None:
    case = Cluster(followers=10, fanout=100)
    alone = case.log_turn + case.log_each + case.node_service
    assert queues.quantile(cluster.simulated(case, 1.0, 2_000, Random(9)), 0.5) == pytest.approx(
        alone, rel=0.01
    )


def test_a_node_by_itself_is_an_m_d_1_queue() -> None:
    service = Cluster(1, fanout=1_000).node_service
    found = cluster.node_delays(0.6 / service, service, 100_000, Random(10))
    assert sum(found) / len(found) == pytest.approx(cluster.node_mean(0.6 / service, service), rel=0.05)


def test_partitions_multiply_what_a_log_can_until_the_nodes_are_full() -> None:
    found = [cluster.most(Cluster(100, partitions), 4_000, 11) for partitions in (1, 2, 16)]
    assert found[1] == pytest.approx(2 * found[0], rel=0.1)
    assert found[2] == pytest.approx(Cluster(100).node_limit(), rel=0.1)
    assert found[2] < 6 * found[0]


def test_beyond_what_an_engine_or_a_node_can_nothing_arrives_in_time() -> None:
    case = Cluster(followers=100, partitions=2)
    assert math.isinf(cluster.p99(case, case.log_limit() * 1.01, 100, 12))
    assert math.isinf(cluster.p99(Cluster(3, 16), Cluster(3).node_limit() * 1.01, 100, 12))


def test_so_many_followers_that_one_answer_takes_too_long_leave_no_rate_at_all() -> None:
    assert cluster.most(Cluster(followers=10_000), 1_000, 13) == 0.0


def test_a_node_that_is_sent_a_share_can_do_so_many_times_more() -> None:
    whole, tenth = Cluster(10, 16), Cluster(10, 16, followed=0.1)
    assert tenth.node_limit() == pytest.approx(10 * whole.node_limit())
    assert cluster.p99(tenth, whole.node_limit() * 1.5, 4_000, 14) < cluster.P99_MOST


def test_many_clients_touch_every_partition_whatever_each_of_them_needs() -> None:
    assert cluster.partitions_touched(16, 1, 1) == pytest.approx(1)
    assert cluster.partitions_touched(16, 1_000, 1) == pytest.approx(16)
    chance = Random(15)
    drawn = [len({chance.randrange(16) for _ in range(20)}) for _ in range(5_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(cluster.partitions_touched(16, 10, 2), rel=0.02)


# --- storms and deploys -------------------------------------------------------------------------


@pytest.mark.parametrize(("clients", "window"), [(1_000, 5.0), (3_000, 0.1)])
def test_a_storm_takes_its_window_or_its_work_whichever_is_longer(clients: int, window: float) -> None:
    storm = storms.Storm(clients, window, service=500e-6)
    course = storms.simulated(storm, Random(16))
    assert course.last == pytest.approx(storms.closed_form(storm), rel=0.03)
    assert course.attempts == clients


def test_a_storm_without_room_costs_tries_and_a_wide_window_none() -> None:
    narrow, wide = storms.Storm(60_000, 0.3, 200e-6), storms.Storm(60_000, 20.0, 200e-6)
    crowded, spread = (storms.simulated(storm, Random(17)) for storm in (narrow, wide))
    assert crowded.attempts_each(narrow) > 1.3
    assert crowded.last > storms.closed_form(narrow)
    assert spread.attempts_each(wide) == 1.0
    assert spread.longest_wait < 0.1
    assert crowded.longest_wait <= narrow.patience


def test_moves_by_chance_are_those_of_the_closed_form() -> None:
    for nodes in (2, 3, 10, 100):
        assert deploys.rolled(nodes, least=False).moves == pytest.approx(deploys.closed_form(nodes))
    assert deploys.closed_form(100_000) == pytest.approx(math.e - 1, rel=1e-4)


@pytest.mark.parametrize("least", [False, True])
def test_nobody_is_lost_on_the_way_and_the_last_node_is_empty(least: bool) -> None:
    rolled = deploys.rolled(7, least=least)
    assert sum(rolled.shares) == pytest.approx(1)
    assert rolled.shares[-1] == 0


def test_least_connections_move_fewer_and_leave_nodes_alike() -> None:
    by_chance, least = deploys.rolled(10, least=False), deploys.rolled(10, least=True)
    assert least.moves < by_chance.moves
    assert max(least.shares) < max(by_chance.shares)


# --- the command --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_tables() -> None:
    said = [str(report.one_node(seed, 300)) + str(report.partitions(seed, 300)) for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


@pytest.mark.slow
def test_the_command_prints_the_tables_of_the_page() -> None:
    done = subprocess.run([sys.executable, str(SIMULATE)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    tables = re.findall(r"(?:^\|.*\n)+", done.stdout, re.MULTILINE)
    assert len(tables) == 4
    page = (SIMULATE.parents[1] / "docs" / "scaling.md").read_text()
    assert [table in page for table in tables] == [True] * 4, "run python bench/simulate.py"


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = report.draw(report.curves(1, 200), tmp_path)
    assert [file.stat().st_size > 10_000 for file in files] == [True, True]


@pytest.mark.skipif(engine.PROGRAM is None, reason="no `redis-server` on PATH")
@pytest.mark.alone
async def test_what_a_message_costs_redis_is_measured_with_a_real_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("redis")
    monkeypatch.setattr(engine, "SECONDS", 2.0)
    monkeypatch.setattr(engine, "FOLLOWERS", (0, 8))
    append, answer, read = await engine.measured()
    # Clock ticks of 10 ms in two seconds: only the order of size.
    assert 0 < append < 1e-3
    assert 0 < answer < 1e-3
    assert 0 < read < append


def test_the_constants_are_those_of_the_performance_page() -> None:
    page = (SIMULATE.parents[1] / "docs" / "performance.md").read_text()
    for said in (
        f"c_send = {costs.SEND * 1e6:.1f} µs and c_python = {costs.DELIVERY_PYTHON * 1e6:.1f} µs",
        f"{costs.IDLE * 1e6:.2f} µs of CPU a second",
        f"| {costs.RETURN_WEB_SOCKET * 1e4:.2f} (",
        f"| {costs.RETURN_SSE * 1e4:.2f} (",
        f"| {costs.LONG_POLL * 1e6:.1f} (",
        f"**Polls**: {costs.POLL * 1e6:.0f} µs each",
        f"{costs.MEMORY / 1000:.2f} kB",
    ):
        assert said in page
