"""How the server ends: what is asked when the signal comes is answered."""

import asyncio
import socket

import uvicorn

GRACE = 0.5  # seconds


class Draining(uvicorn.Server):
    """A server that reads what is on its way before it closes connections on which nothing seems to happen: a request
    that is sent but not read yet would be lost with them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, wait a moment, then end as uvicorn does."""
        for listener in self.servers:
            listener.close()
        await asyncio.sleep(GRACE)
        await super().shutdown(sockets)
