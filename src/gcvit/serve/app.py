"""The HTTP server of one model: `/predict` for programs, `/healthz` and `/metrics` for those who run it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse

from gcvit.data.members import FileInMemory
from gcvit.errors import UserError
from gcvit.serve.batching import Batcher, Busy
from gcvit.serve.limits import Limited, Limits
from gcvit.serve.metrics import Measured, Metrics
from gcvit.serve.page import add_page
from gcvit.serve.sent import pictures_in
from gcvit.serve.views import Explorer
from gcvit.tasks.opened import Answer, Failure, Opened
from gcvit.wording import harmless, listed

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


GRACE = 0.5  # seconds


@dataclass
class Server:
    """A model with what serves it. hosts: the names by which it may be called; how: arguments of `Opened.answers`.
    page: whether there is one to explore the model on."""

    opened: Opened
    limits: Limits = field(default_factory=Limits)
    hosts: tuple[str, ...] = LOOPBACK
    how: dict[str, Any] = field(default_factory=dict)
    page: bool = True
    metrics: Metrics = field(default_factory=Metrics, init=False)
    batcher: Batcher = field(init=False)
    explorer: Explorer | None = field(init=False)

    def __post_init__(self) -> None:
        # An exported file gives answers alone.
        self.explorer = Explorer(self.opened, self.how) if self.page and not self.opened.exported else None

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """While the app runs; at its end what was asked is answered first."""
        self.batcher = Batcher(self.opened, self.limits, self.metrics.batches.observe, self.how)
        yield
        await asyncio.to_thread(self.batcher.close)

    async def answers(self, pictures: list[FileInMemory]) -> list[dict[str, Any]]:
        """What is said of each picture, or {"file", "error"}. Raises HTTPException 503 where too many wait."""
        asked: list[Future[Answer | Failure]] = []
        try:
            asked += map(self.batcher.ask, pictures)
            found = await asyncio.gather(*map(asyncio.wrap_future, asked))
        except Busy:
            raise HTTPException(503, "too many pictures wait; ask again", {"retry-after": "1"}) from None
        finally:
            for future in asked:  # nothing where they are answered
                future.cancel()
        return [self._told(picture, one) for picture, one in zip(pictures, found, strict=True)]

    def _told(self, picture: FileInMemory, one: Answer | Failure) -> dict[str, Any]:
        failed = isinstance(one, Failure)
        self.metrics.pictures.labels("unreadable" if failed else "answered").inc()
        return {"file": picture.name, "error": one.error} if isinstance(one, Failure) else one.to_dict()


class Draining(uvicorn.Server):
    """A server that answers what is asked when the signal comes: it reads what is on its way before it closes
    connections on which nothing seems to happen, with which a request that is sent but not read yet would be lost."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, wait a moment, then end as uvicorn does."""
        for listener in self.servers:
            listener.close()
        await asyncio.sleep(GRACE)
        await super().shutdown(sockets)


def make_app(server: Server) -> Limited:
    """The server as an ASGI app."""
    # The usual pages of documentation load their scripts from elsewhere.
    app = FastAPI(lifespan=server.running, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Measured, metrics=server.metrics)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(server.hosts), www_redirect=False)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        wrong = listed([f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()])
        return JSONResponse({"error": harmless(wrong, keep="")}, 422)

    @app.exception_handler(UserError)
    async def mistaken(_: Request, error: UserError) -> Response:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Exception)
    async def ours(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "a mistake of the server's; its log says more"}, 500)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        pictures, several = await pictures_in(request, server.limits.pictures)
        found = await server.answers(pictures)
        status = 422 if all("error" in one for one in found) else 200
        return JSONResponse({"answers": found} if several else found[0], status)

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ready", "model": server.opened.name, "task": server.opened.task.name})

    @app.get("/metrics")
    async def metrics() -> Response:
        server.metrics.waiting.set(server.batcher.waiting)
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    if server.explorer is not None:
        add_page(app, server.explorer)
    return Limited(app, server.limits.upload, server.limits.patience)
