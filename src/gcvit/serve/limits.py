"""What may come in: no more bytes than agreed, and nothing that another site's page sends behind a person's back."""

import asyncio
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing from elsewhere, no frames, no guessing of types.
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Limits:
    """What a server takes on."""

    upload: int = 32 * 2**20
    """bytes of a request"""
    patience: float = 300
    """seconds in which all of it must have come, so that slow senders do not add up"""
    pictures: int = 32
    """pictures of a request"""
    at_once: int = 8
    """pictures that go through the model together"""
    wait: float = 0.005
    """seconds for which the first of them waits for others"""
    waiting: int = 128
    """pictures that may wait; more are told to come again (503)"""


class Limited:
    """An app that answers 413 to bodies of more than `most` bytes, announced or not, 408 to those that have not come
    within `patience` seconds, and 403 to requests that a browser sends from another site's page."""

    def __init__(self, app: ASGIApp, most: int, patience: float) -> None:
        self.app, self.most, self.patience = app, most, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refusal := self._refusal(scope):
            await refusal(scope, receive, send)
        else:
            await self.app(scope, self._counted(receive), _with_headers(send))

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get("origin")
        if origin is not None and _place(origin) != headers.get("host"):
            return _refuse(403, "requests from another site's page are not answered")
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > self.most:
            return _refuse(413, self._too_large)
        return None

    def _counted(self, receive: Receive) -> Receive:
        came, coming, end = 0, True, monotonic() + self.patience

        async def counted() -> Message:
            nonlocal came, coming
            try:  # after the body's end what is waited for is that the caller goes away
                message = await asyncio.wait_for(receive(), max(end - monotonic(), 0) if coming else None)
            except TimeoutError:
                said = f"the request had not come within {self.patience:g} seconds"
                raise HTTPException(408, said, {"connection": "close"}) from None
            came, coming = came + len(message.get("body", b"")), message.get("more_body", False)
            if came > self.most:
                raise HTTPException(413, self._too_large)
            return message

        return counted

    @property
    def _too_large(self) -> str:
        return f"more than {self.most:,} bytes; whoever runs the server may raise --max-upload"


def _place(origin: str) -> str | None:
    """Host and port in the address of a page; None in what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
        await send(message)

    return sent


def _refuse(status: int, why: str) -> JSONResponse:
    # The connection stays open, and what still comes is read and dropped: a sender whose connection ends before it has
    # sent everything may never see the answer.
    return JSONResponse({"error": why}, status, HEADERS)
