"""`gcvit serve` as a process: it answers, is alone on its port, and ends when it has answered what was asked."""

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from time import sleep

import httpx
import pytest
from PIL import Image

from apart import Apart
from cli.conftest import Command
from gcvit.cli.main import main


@contextmanager
def serving(model: Path, port: int = 0) -> Iterator[tuple[Apart, str]]:
    """The process and its address, once it is ready."""
    process = Apart(main, ["serve", str(model), "--port", str(port), "--max-upload", "1", "--device", "cpu"])
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", process.said()[0])):
            assert process.running, process.said()
            sleep(0.1)
        for _ in range(300):
            try:
                httpx.get(f"{found[0]}/healthz")
                break
            except httpx.ConnectError:
                sleep(0.1)
        yield process, found[0]
    finally:
        if process.running:
            process.kill()
            process.done()


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def refused_while_sending(address: str) -> bytes:
    """What a sender gets who announces 2 MiB, and sends them all before it reads."""
    with connected(address) as sender:
        sender.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2097152\r\n\r\n")
        for _ in range(32):
            sender.sendall(bytes(2**16))
            sleep(0.005)
        return sender.recv(65_536)


def form(pictures: int) -> bytes:
    """A request with so many pictures."""
    content = BytesIO()
    Image.effect_noise((60, 40), 80).save(content, "JPEG")
    request = httpx.Request("POST", "http://localhost/predict", files=[("image", ("a", content.getvalue()))] * pictures)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join(["POST /predict HTTP/1.1", *lines, "connection: close", "", ""]).encode() + request.read()


def everything(sender: socket.socket) -> bytes:
    return b"".join(iter(lambda: sender.recv(65_536), b""))


def test_a_server_from_its_start_to_its_end(gcvit: Command, best: Path) -> None:
    with serving(best) as (process, address):
        port = int(address.rpartition(":")[2])
        taken = gcvit("serve", best, "--port", port)
        assert taken.code == 2
        assert f"cannot listen at 127.0.0.1, port {port}: Address already in use" in taken.message
        assert refused_while_sending(address).startswith(b"HTTP/1.1 413 ")

        asked = [connected(address) for _ in range(6)]
        for one in asked:
            one.sendall(form(8))
        httpx.get(f"{address}/healthz")  # connections are taken in turn: theirs are now
        process.send(signal.SIGTERM)
        for one in asked:
            told = everything(one)
            one.close()
            assert told.startswith(b"HTTP/1.1 200 ")
            assert told.count(b'"predictions"') == 8
        assert process.done(60).returncode == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/healthz")
    with serving(best, port) as (_, again):  # at once on the same port
        assert again == address
        assert httpx.get(f"{again}/healthz").json()["status"] == "ready"
