"""What `/metrics` tells a Prometheus server."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files
        self.requests = Counter("gcvit_requests", "Answered requests", ["path", "status"], registry=registry)
        self.seconds = Histogram("gcvit_request_seconds", "Their time", ["path"], buckets=SECONDS, registry=registry)
        self.pictures = Counter("gcvit_pictures", "Pictures, answered or unreadable", ["outcome"], registry=registry)
        self.batches = Histogram("gcvit_batch_pictures", "Pictures of a batch", buckets=SIZES, registry=registry)
        self.waiting = Gauge("gcvit_waiting_pictures", "Pictures that wait for the model", registry=registry)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)


class Measured:
    """An app whose requests are counted and timed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = scope.get("route")
            path = "other" if route is None else route.path  # never what was asked for: it may be anything
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(perf_counter() - start)
