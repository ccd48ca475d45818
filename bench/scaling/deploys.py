"""Nodes that are restarted one after another: how often a client is moved, and where all are afterwards.

Owns: who goes where. Does not own: what a move costs.
Invariant: every client of a node that stops goes to another node; nobody moves otherwise.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rolled:
    """How often a client was moved on average, and the nodes' shares of clients, in order of restart."""

    moves: float
    shares: tuple[float, ...]


def closed_form(nodes: int) -> float:
    """Return how often a client is moved where any other node is as likely; it goes to e - 1."""
    return (nodes - 1) / nodes * ((nodes / (nodes - 1)) ** nodes - 1)


def rolled(nodes: int, *, least: bool) -> Rolled:
    """Restart each of `nodes` once. Who is moved goes to the emptiest node (`least`), or to any by chance."""
    shares = [1 / nodes] * nodes
    moves = 0.0
    for stopping in range(nodes):
        leaving, shares[stopping] = shares[stopping], 0.0
        moves += leaving
        others = [node for node in range(nodes) if node != stopping]
        if least:
            _pour(shares, others, leaving)
        else:
            for node in others:
                shares[node] += leaving / len(others)
    return Rolled(moves, tuple(shares))


def _pour(shares: list[float], others: list[int], amount: float) -> None:
    """Fill the emptiest of `others` first, like water."""
    ordered = sorted(others, key=lambda node: shares[node])
    for count in range(1, len(ordered) + 1):
        lowest = ordered[:count]
        level = (sum(shares[node] for node in lowest) + amount) / count
        if count == len(ordered) or level <= shares[ordered[count]]:
            for node in lowest:
                shares[node] = level
            return
