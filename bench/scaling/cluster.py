"""A log of some partitions and the nodes that follow it: how late a message is, and how many a second pass.

Owns: the way of a message through log and node. Does not own: one queue (queues.py), constants (costs.py).
Invariant: a message is appended to one partition, and every node follows every partition.
"""

import math
from dataclasses import dataclass
from itertools import repeat
from random import Random

from scaling import costs, queues

P99_MOST = 0.1  # seconds: later than that is no longer called real time here


@dataclass(frozen=True)
class Cluster:
    """`followers` are processes that follow the log; each writes a message to `fanout` clients.

    Each partition has an engine (a core of a log server) of its own. `follow` is what a node pays for each
    message, whether its clients hear it or not; `followed` is the share of all messages that a node is sent.
    """

    followers: int
    partitions: int = 1
    fanout: float = 0.0
    follow: float = costs.FOLLOW
    followed: float = 1.0

    @property
    def node_service(self) -> float:
        """Return what a node pays for a message."""
        return self.follow + self.fanout * costs.delivery()

    @property
    def log_each(self) -> float:
        """Return what an engine pays for a message, when its followers are answered many at a time."""
        return costs.LOG_APPEND + self.followers * self.followed * costs.LOG_READ

    @property
    def log_turn(self) -> float:
        """Return what an engine pays to answer all its followers once."""
        return self.followers * self.followed * costs.LOG_REPLY

    def log_limit(self) -> float:
        """Return the messages a second at which the engines are full."""
        return self.partitions / self.log_each

    def node_limit(self) -> float:
        """Return the messages a second at which a node is full."""
        return 1 / (self.node_service * self.followed)


def simulated(cluster: Cluster, rate: float, count: int, chance: Random) -> list[float]:
    """Return how late each of `count` messages is at a node, from publishing to its last client."""
    arrivals = queues.poisson(rate, count, chance)
    if cluster.partitions == 1:
        shares = [arrivals]
    else:
        shares = [[] for _ in range(cluster.partitions)]
        for moment in arrivals:
            shares[chance.randrange(cluster.partitions)].append(moment)
    reached: list[tuple[float, float]] = []
    for share in shares:
        # What a follower is sent in one answer is what came since it last asked.
        done = queues.served_joined(share, cluster.log_each, cluster.log_turn, costs.ROUND_TRIP)
        reached += zip(done, share, strict=True)
    reached.sort()
    if cluster.followed < 1:
        reached = [pair for pair in reached if chance.random() < cluster.followed]
    at_node = [there for there, _ in reached]
    finished = queues.served(at_node, repeat(cluster.node_service, len(at_node)))
    return queues.delays([began for _, began in reached], finished)


def p99(cluster: Cluster, rate: float, count: int, seed: int) -> float:
    """Return the p99 delay at `rate`; infinite where an engine or a node cannot keep up."""
    if rate >= min(cluster.log_limit(), cluster.node_limit()):
        return math.inf
    return queues.quantile(simulated(cluster, rate, count, Random(seed)), 0.99)


def most(cluster: Cluster, count: int, seed: int, p99_most: float = P99_MOST) -> float:
    """Return the highest rate, within 2 %, at which the simulated p99 is at most `p99_most`; 0 if none."""
    limit = min(cluster.log_limit(), cluster.node_limit())
    if p99(cluster, 0.99 * limit, count, seed) <= p99_most:
        return 0.99 * limit
    low, high = 0.01 * limit, limit
    if p99(cluster, low, min(count, 500), seed) > p99_most:
        return 0.0
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        if p99(cluster, middle, count, seed) <= p99_most:
            low = middle
        else:
            high = middle
    return low


def arithmetic(cluster: Cluster) -> float:
    """Return what closed forms say of `most`: the log full to FULL, or the node, whichever comes first."""
    return costs.FULL * min(cluster.log_limit(), cluster.node_limit())


def partitions_touched(partitions: int, clients: int, channels: int) -> float:
    """Return on how many of `partitions` a node's clients have channels, each client `channels` by chance."""
    return float(partitions * (1 - (1 - 1 / partitions) ** (clients * channels)))


def node_delays(rate: float, service: float, count: int, chance: Random) -> list[float]:
    """Return the delays at a node by itself, whose log costs nothing."""
    arrivals = queues.poisson(rate, count, chance)
    return queues.delays(arrivals, queues.served(arrivals, repeat(service, count)))


def node_mean(rate: float, service: float) -> float:
    """Return their mean, in closed form."""
    return service + queues.mean_wait(rate, service)
