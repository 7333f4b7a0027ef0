"""Figures of a running service, in a registry of its own application, as Prometheus reads them.

What may change here: a new figure, with a row in docs/operations.md. Not: that labels have few values, all known
beforehand, so that no stranger can make them many.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

STAGES = ("wait", "decode", "encode", "search", "answer", "write")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COSINES = (*tuple(round(-0.2 + 0.05 * step, 2) for step in range(24)), 0.99, 0.999)
REASONS = {  # of a status that stands for one; the guard names its own
    400: "form",
    404: "not_found",
    405: "method",
    408: "slow",
    409: "conflict",
    410: "gone",
    412: "version",
    413: "large",
    415: "media_type",
    422: "invalid",
    428: "version",
    429: "busy",
    500: "bug",
    503: "unavailable",
    507: "full",
}


@dataclass(frozen=True)
class Standing:
    """How things stand at the moment of a scrape."""

    generation: str
    model: str
    items: int
    queued: int  # requests that wait for a thread
    searches: int  # requests that have one of the places for searches
    writes: int  # and for writes


class Metrics:
    """The figures of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "crossmatch_requests", "Answered requests", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "crossmatch_request_seconds", "From the request's head to the end of its answer", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._stages = Histogram(
            "crossmatch_stage_seconds", "Of one stage of the work", ["stage"], buckets=_SECONDS, registry=registry
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._rejections = Counter(
            "crossmatch_rejections", "Requests answered with an error, by reason", ["reason"], registry=registry
        )
        self._scores = Histogram(
            "crossmatch_best_score", "Cosine of the best result of each search", buckets=_COSINES, registry=registry
        )
        self._items = Gauge("crossmatch_index_items", "Items in the index", registry=registry)
        self._index = Info("crossmatch_index", "Generation and model that answer", registry=registry)
        self._queued = Gauge("crossmatch_queued", "Requests that wait for an encoder thread", registry=registry)
        self._flight = Gauge(
            "crossmatch_in_flight", "Requests that have a place, waiting ones among them", ["kind"], registry=registry
        )

    def observe(self, name: str, value: float) -> None:
        """A measurement of `index.measurements`, or of the engine's; from any thread."""
        if name == "best_score":
            self._scores.observe(value)
        elif name in STAGES:
            self._stages.labels(name).observe(value)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request that was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_rejection(self, reason: str) -> None:
        """A request that was answered with an error."""
        self._rejections.labels(reason).inc()

    def render(self, standing: Standing) -> bytes:
        """The text that Prometheus reads."""
        self._items.set(standing.items)
        self._index.info({"generation": standing.generation, "model": standing.model})
        self._queued.set(standing.queued)
        self._flight.labels("search").set(standing.searches)
        self._flight.labels("write").set(standing.writes)
        return generate_latest(self.registry)
