"""The server: the answers of `predict`, whoever asks beside; and what is refused."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.exceptions import HTTPException

from gcvit.data.members import FileInMemory
from gcvit.serve.app import Server, make_app
from gcvit.serve.limits import Limited, Limits
from gcvit.tasks.opened import Opened
from tasks import photos, scenes, things

OPENED = {"classify": photos.opened, "segment": scenes.opened, "detect": things.opened}
ADDRESS = "http://localhost"
PNG = {"content-type": "image/png"}


def png(size: tuple[int, int] = (40, 30), colour: Any = (200, 30, 90), mode: str = "RGB") -> bytes:
    content = BytesIO()
    Image.new(mode, size, colour).save(content, "PNG")
    return content.getvalue()


def client_of(opened: Opened, limits: Limits | None = None) -> TestClient:
    app = make_app(Server(opened, limits or Limits(), page=False))
    return TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_of(photos.opened(), Limits(upload=50_000, pictures=4)) as client:
        yield client


@pytest.mark.parametrize("task", OPENED)
def test_every_way_of_sending_gets_what_predict_says(task: str) -> None:
    opened = OPENED[task]()
    content = png()
    expected = json.loads(json.dumps(opened.predict(FileInMemory("a.png", content)).to_dict()))
    assert expected["file"] == "a.png"
    with client_of(opened) as client:
        form = client.post("/predict", files=[("image", ("a.png", content)), ("image", ("a.png", content))])
        assert form.json() == {"answers": [expected, expected]}
        base64 = client.post("/predict", json={"images": [b64encode(content).decode()]})
        assert base64.json() == {"answers": [expected | {"file": "images[0]"}]}
        body = client.post("/predict", content=content, headers=PNG)
        assert body.json() == expected | {"file": "picture"}
        assert {form.status_code, base64.status_code, body.status_code} == {200}


def test_callers_share_batches_and_each_gets_its_own_answer() -> None:
    opened = photos.opened()
    pictures = [png((20 + 3 * i, 50), (9 * i, 255 - 9 * i, 90)) for i in range(24)]
    expected = [answer.to_dict() for answer in opened.predict([FileInMemory("picture", one) for one in pictures])]
    server = Server(opened, Limits(wait=0.2), page=False)
    with TestClient(make_app(server), base_url=ADDRESS) as client, ThreadPoolExecutor(24) as pool:
        told = pool.map(lambda one: client.post("/predict", content=one, headers=PNG), pictures)
        found = [answer.json() for answer in told]
        said = client.get("/metrics").text
    for one, other in zip(found, expected, strict=True):
        assert [guess["label"] for guess in one["predictions"]] == [guess["label"] for guess in other["predictions"]]
        ours, theirs = (told["predictions"][0]["probability"] for told in (one, other))
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert 'gcvit_pictures_total{outcome="answered"} 24.0' in said
    batches = float(
        next(line for line in said.splitlines() if line.startswith("gcvit_batch_pictures_count")).split()[1]
    )
    assert batches < 24


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        ({"content": b"", "headers": PNG}, 422, "picture: the file is empty"),
        ({"content": png()[:60], "headers": PNG}, 422, "cannot read image picture: "),
        ({"content": b"GIF89a" + bytes(40), "headers": PNG}, 422, "cannot read image"),
        ({"content": png(), "headers": {"content-type": "text/html"}}, 415, "multipart/form-data"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not as expected"),
        ({"content": b"[" * 40_000, "headers": {"content-type": "application/json"}}, 400, "not as expected"),
        ({"json": {"images": "abc"}}, 400, "images is no list"),
        ({"json": {"images": ["ä"]}}, 400, "not as expected"),
        ({"json": {"images": []}}, 400, "no picture came"),
        ({"json": {"images": [b64encode(png()).decode()] * 5}}, 413, "5 pictures; 4 are the most"),
        ({"files": [("image", ("a.png", png()))] * 5}, 400, "Too many files"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"files": [("image", ("\x1b[31m\u202egnp.exe", b"nothing"))]}, 422, r"\u202egnp.exe"),
    ],
)
def test_bad_input_is_one_line(client: TestClient, sent: dict[str, Any], status: int, message: str) -> None:
    answer = client.post("/predict", **sent)
    assert answer.status_code == status, answer.text
    told = answer.json()
    text = (told["answers"][0] if "answers" in told else told)["error"]
    assert message in text
    assert "\n" not in text
    assert "/" not in text.replace("multipart/form-data", "").replace("image/…", "")  # no path of the server's
    assert client.get("/healthz").json() == {"status": "ready", "model": "gcvit_halves", "task": "classify"}


@pytest.mark.parametrize(
    ("size", "mode", "kind"),
    [
        ((1, 1), "RGB", "PNG"),
        ((1, 900), "RGB", "PNG"),
        ((40, 30), "I;16", "PNG"),
        ((40, 30), "1", "PNG"),
        ((40, 30), "LA", "PNG"),
        ((40, 30), "RGBA", "WEBP"),
        ((40, 30), "P", "GIF"),
        ((40, 30), "CMYK", "JPEG"),
        ((40, 30), "RGB", "TIFF"),
    ],
)
def test_odd_pictures_are_answered(client: TestClient, size: tuple[int, int], mode: str, kind: str) -> None:
    content = BytesIO()
    Image.new(mode, size).save(content, kind)
    answer = client.post("/predict", content=content.getvalue(), headers=PNG)  # whatever its type is said to be
    assert (answer.status_code, len(answer.json()["predictions"]) > 0) == (200, True), answer.text


def test_one_bad_picture_spoils_none_of_the_others(client: TestClient) -> None:
    sent = [png(), b"nothing", png(mode="L", colour=3)]
    answer = client.post("/predict", files=[("image", ("picture", one)) for one in sent])
    assert answer.status_code == 200
    assert ["error" in one for one in answer.json()["answers"]] == [False, True, False]


def test_too_many_bytes_are_refused_announced_or_not(client: TestClient) -> None:
    def unannounced() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(10_000)

    for content in (bytes(100_000), unannounced()):
        answer = client.post("/predict", content=content, headers=PNG)
        assert (answer.status_code, answer.json()["error"].partition(";")[0]) == (413, "more than 50,000 bytes")
    at_most = client.post("/predict", content=bytes(50_000), headers=PNG)
    assert at_most.status_code == 422


def test_who_sends_too_slowly_is_let_go_and_who_waits_for_an_answer_is_not() -> None:
    async def read(*sent: tuple[float, dict[str, Any]]) -> str:
        waits = iter(sent)

        async def receive() -> dict[str, Any]:
            seconds, message = next(waits)
            await asyncio.sleep(seconds)
            return message

        async def app(scope: Any, receive: Any, send: Any) -> None:
            came.append([await receive() for _ in sent][-1]["type"])

        await Limited(app, 9, 0.5)({"type": "http", "headers": []}, receive, receive)  # type: ignore[arg-type]
        return came.pop()

    came: list[str] = []
    piece, last = {"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}
    with pytest.raises(HTTPException, match=r"^408: the request had not come within 0\.5 seconds"):
        asyncio.run(read((0, piece), (1000, last)))
    assert asyncio.run(read((0, piece), (0, last), (0.7, {"type": "http.disconnect"}))) == "http.disconnect"


@pytest.mark.parametrize("kind", ["image/png", "application/json", "multipart/form-data; boundary=b"])
def test_a_request_that_does_not_come_is_answered(kind: str) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(1000)
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    asyncio.run(make_app(Server(photos.opened(), Limits(patience=0.1), page=False))(scope, receive, send))
    start, body = sent
    assert (start["status"], dict(start["headers"])[b"connection"]) == (408, b"close")
    assert json.loads(body["body"]) == {"error": "the request had not come within 0.1 seconds"}


def test_a_bomb_is_refused_before_it_is_decoded(client: TestClient) -> None:
    bomb = bytearray(png())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    answer = client.post("/predict", content=bytes(bomb), headers=PNG)
    assert answer.status_code == 422


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254"])
def test_other_names_of_this_machine_are_not_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 400


def test_pages_of_other_sites_are_not_answered(client: TestClient) -> None:
    for origin in ("http://evil.example", "null", "http://localhost:99", "http://[::"):
        answer = client.post("/predict", content=png(), headers=PNG | {"origin": origin})
        assert answer.status_code == 403
    ours = client.post("/predict", content=png(), headers=PNG | {"origin": ADDRESS})
    assert ours.status_code == 200


def test_nothing_is_listed_and_nothing_comes_from_elsewhere(client: TestClient) -> None:
    for path in ("/docs", "/openapi.json", "/redoc", "/../pyproject.toml", "/page/../app.py"):
        assert client.get(path).status_code == 404
    answer = client.get("/healthz")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


def test_when_too_many_wait_others_are_told_to_come_again() -> None:
    server = Server(photos.opened(), Limits(waiting=2), page=False)
    with TestClient(make_app(server), base_url=ADDRESS) as client:
        answer = client.post("/predict", files=[("image", ("a.png", png()))] * 30)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert client.post("/predict", files=[("image", ("a.png", png()))]).status_code == 200


def test_a_mistake_of_ours_is_told_without_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = photos.opened()
    with client_of(opened) as client:
        monkeypatch.setattr(type(opened.task), "answer", lambda *_: 1 / 0)
        answer = client.post("/predict", content=png(), headers=PNG)
        assert (answer.status_code, answer.json()) == (500, {"error": "a mistake of the server's; its log says more"})
        monkeypatch.undo()
        assert client.post("/predict", content=png(), headers=PNG).status_code == 200


def test_what_is_asked_is_answered_before_the_end() -> None:
    server = Server(photos.opened(), Limits(wait=0.5), page=False)
    with TestClient(make_app(server), base_url=ADDRESS):
        asked = [server.batcher.ask(FileInMemory("a", png())) for _ in range(5)]
    assert all(future.done() and not future.exception() for future in asked)
