"""What operators and orchestrators ask: alive, ready, which version, how much (spec §8.2).

Metrics carry no channel and no user: their number must not grow with what is published.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidings.core.errors import Refusal
from tidings.version import __version__
from tidings.wire import http
from tidings.wire.http import Response

if TYPE_CHECKING:
    from tidings.server.app import App


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
        """Return 200 while new clients are welcome, else 503 `shutting_down`."""
        if self._app.draining:
            raise Refusal("shutting_down", "The server is shutting down.", (("Retry-After", "1"),))
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

    def collect(self) -> Iterator[Metric]:
        """Yield every figure; prometheus-client calls it for each /metrics."""
        hub = self._app.hub
        stats = hub.stats
        yield CounterMetricFamily("tidings_requests", "HTTP requests served.", self._app.requests)
        yield CounterMetricFamily("tidings_published", "Messages taken from publishers.", stats.published)
        yield CounterMetricFamily("tidings_delivered", "Messages written to clients.", stats.delivered)
        yield CounterMetricFamily("tidings_writes", "Writes that carried messages.", stats.writes)
        yield CounterMetricFamily("tidings_renderings", "Batches rendered.", stats.renderings)
        yield CounterMetricFamily("tidings_gaps", "Gaps told to clients.", stats.gaps)
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
