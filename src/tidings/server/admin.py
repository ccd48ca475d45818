"""What operators and orchestrators ask: alive, ready, which version, how much (spec §8.2).

Metrics carry no channel and no user: their number must not grow with what is published.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from tidings.core import limits
from tidings.core.errors import CODES, Refusal
from tidings.version import __version__
from tidings.wire import http
from tidings.wire.http import Response

if TYPE_CHECKING:
    from tidings.server.app import App

# What each worker says of the same thing, where others say it of their own part.
_HIGHEST: Final = (
    "tidings_history_channels",
    "tidings_position",
    "tidings_log_lag",
    "tidings_log_away_seconds",
)


class Admin(Collector):
    """Answers about one running server."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def alive(self) -> Response:
        """Return 200 as long as the event loop turns."""
        return http.json_response(200, {"status": "ok"})

    def ready(self) -> Response:
        """Return 200 while new clients are welcome, else 503 `shutting_down` or `log_unavailable`."""
        if self._app.draining:
            raise Refusal("shutting_down", "The server is shutting down.")
        if self._app.log_away > limits.LOG_TIMEOUT:
            raise Refusal("log_unavailable", "The log has not been heard for some time.")
        if reason := self._app.log_refusing:
            raise Refusal("log_unavailable", f"Nothing can be published: {reason}.")
        return http.json_response(200, {"status": "ok"})

    def version(self) -> Response:
        """Return the version of Tidings and of its wire."""
        return http.json_response(200, {"name": "tidings", "version": __version__, "protocol": "tidings.v1"})

    def metrics(self) -> Response:
        """Return the figures in Prometheus' text format."""
        body = generate_latest(self._registry)
        return Response(
            200, (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"), http.NO_STORE), body
        )

    def figures(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return what this process counts by itself: counters, and gauges."""
        kinds: dict[str, dict[str, float]] = {"counter": {}, "gauge": {}}
        for family in self._own():
            for sample in family.samples:
                kinds[family.type][_key(sample)] = sample.value
        return kinds["counter"], kinds["gauge"]

    def collect(self) -> Iterator[Metric]:
        """Yield every figure, those of the other workers with it; prometheus-client calls it for /metrics."""
        siblings = self._app.siblings
        for family in self._own():
            if siblings is not None:
                for index, own in enumerate(family.samples):
                    key = _key(own)
                    others = [gauges.get(key, 0.0) for gauges in siblings.gauges]
                    others.append(siblings.counters.get(key, 0.0))
                    value = max(own.value, *others) if own.name in _HIGHEST else own.value + sum(others)
                    family.samples[index] = own._replace(value=value)
            yield family

    def _own(self) -> Iterator[Metric]:
        hub = self._app.hub
        stats = hub.stats
        yield CounterMetricFamily("tidings_requests", "HTTP requests served.", self._app.requests)
        refusals = CounterMetricFamily(
            "tidings_refusals", "Requests, commands and connections that were refused.", labels=["code"]
        )
        for code in CODES:  # also those that nobody was told yet: a series that begins at 1 has no rate
            refusals.add_metric([code], self._app.refusals[code])
        yield refusals
        yield CounterMetricFamily("tidings_published", "Messages taken from publishers.", stats.published)
        yield CounterMetricFamily("tidings_delivered", "Messages written to clients.", stats.delivered)
        yield CounterMetricFamily("tidings_writes", "Writes that carried messages.", stats.writes)
        yield CounterMetricFamily("tidings_renderings", "Batches rendered.", stats.renderings)
        yield CounterMetricFamily("tidings_gaps", "Gaps told to clients.", stats.gaps)
        yield GaugeMetricFamily("tidings_workers", "Processes that serve clients.", 1)
        yield GaugeMetricFamily("tidings_connections", "Open connections.", len(self._app.connections))
        yield GaugeMetricFamily(
            "tidings_live_subscribers", "Subscribers at the head of their channels.", hub.cohorts.live
        )
        yield GaugeMetricFamily(
            "tidings_cohorts", "Groups of live subscribers written the same bytes.", len(hub.cohorts)
        )
        yield GaugeMetricFamily(
            "tidings_history_channels", "Channels that hold messages.", hub.history.channels
        )
        yield GaugeMetricFamily(
            "tidings_history_bytes", "Memory that kept messages may hold.", hub.history.weight
        )
        yield GaugeMetricFamily("tidings_position", "Position of the last delivered message.", hub.position)
        yield GaugeMetricFamily(
            "tidings_log_lag", "Positions by which this node is behind its log.", self._app.log_lag
        )
        yield GaugeMetricFamily(
            "tidings_log_away_seconds", "Seconds since the log was heard; 0 while it is.", self._app.log_away
        )
        yield CounterMetricFamily(
            "tidings_log_lives", "Lives of the log that each process came into.", stats.lives
        )


def _key(sample: Sample) -> str:
    """Return what tells one figure from all others, in every worker."""
    return sample.name + "".join(f" {value}" for value in sample.labels.values())
