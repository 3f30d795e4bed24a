"""The page: its maps are what the model computed, and looking changes nothing."""

import weakref
from collections.abc import Iterator

import pytest
import torch
from fastapi.testclient import TestClient

import gcvit
from gcvit.data.members import FileInMemory
from gcvit.serve import views
from gcvit.serve.app import Server, make_app
from gcvit.serve.page import EXAMPLES, FILES
from gcvit.tasks.classify import CLASSIFY
from gcvit.tasks.opened import Opened
from gcvit.weights.preprocessing import Preprocessing
from serve.test_app import ADDRESS, png

SIZE = (100, 132)  # windows stick out of the first two maps


@pytest.fixture(scope="module")
def opened() -> Opened:
    torch.manual_seed(0)
    model = gcvit.create_model("gcvit_pico", num_classes=4, img_size=64).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)  # so that heads, windows and paths differ
    return Opened(CLASSIFY, model, "gcvit_pico", Preprocessing(SIZE, crop_pct=1.0), list("abcd"))


@pytest.fixture
def explorer(opened: Opened) -> views.Explorer:
    return views.Explorer(opened)


@pytest.fixture
def view(explorer: views.Explorer) -> views.View:
    return explorer.view(FileInMemory("a.png", png((64, 50))))


def test_a_point_shows_what_the_model_computed(view: views.View) -> None:
    config, attention = view.look.config, view.look.trace.attention
    for stage, block in attention:
        (h, w), (rows, columns) = config.stage_windows[stage], view.stages[stage]
        for x, y in ((0.0, 0.0), (0.55, 0.4), (0.999, 0.999)):
            found = view.at_point((stage, block), None, x, y)
            row, column = int(y * rows), int(x * columns)
            inside = torch.zeros(rows, columns, dtype=torch.bool)
            inside[row // h * h : row // h * h + h, column // w * w : column // w * w + w] = True
            assert found["window"].sum().item() == pytest.approx(1, abs=1e-5)
            assert not found["window"][~inside].any()
            assert not found["readers"][~inside].any()
            assert found["readers"][inside].any()
            assert ("image" in found) == (config.block_kinds[stage][block] == "global")
            if "image" in found:
                assert found["image"].sum().item() == pytest.approx(1, abs=1e-5)


def test_values_and_queries_add_up_to_what_speaks(view: views.View) -> None:
    for target in (0, 3):
        for stage, parts in enumerate(view.speaks(target)):
            product = view.look.trace.maps[stage].detach()[0] * view.look.gradient(target, stage)
            torch.testing.assert_close(parts["values"] + parts["queries"], product.sum(0))
            torch.testing.assert_close(parts["cam"], product.clamp(min=0).sum(0))
    with pytest.raises(ValueError, match="no 99"):
        view.speaks(99)


def test_memory_is_bounded(explorer: views.Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "KEPT", 2)
    made = [explorer.view(FileInMemory("x", png(colour=(i, 0, 0)))) for i in range(2)]
    assert explorer.view(FileInMemory("x", png(colour=(0, 0, 0)))) is made[0]  # the newest now
    explorer.view(FileInMemory("x", png(colour=(9, 0, 0))))
    assert explorer.kept(made[0].id) is made[0]
    with pytest.raises(views.Gone):
        explorer.kept(made[1].id)
    monkeypatch.setattr(views, "MOST_PIXELS", 100 * 132)  # of all that are kept together
    newest = explorer.view(FileInMemory("x", png(colour=(11, 0, 0))))
    assert explorer.kept(newest.id) is newest
    with pytest.raises(views.Gone):
        explorer.kept(made[0].id)
    monkeypatch.setattr(views, "MOST_PIXELS", 1000)
    with pytest.raises(ValueError, match="100×132 pixels would go through"):
        explorer.view(FileInMemory("x", png(colour=(10, 0, 0))))


def test_passes_are_kept_of_the_newest_alone_and_made_again(
    explorer: views.Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "HELD", 1)
    first, second = (explorer.view(FileInMemory("x", png(colour=(i, 90, 0)))) for i in range(2))
    passes = weakref.ref(second.look.trace.logits)
    assert "_pass" not in first.look.__dict__
    point = first.at_point((1, 1), None, 0.5, 0.5)  # needs none
    assert "_pass" not in first.look.__dict__
    assert set(point) == {"window", "readers", "image"}
    maps = explorer.speaks(first, 3)
    assert passes() is None  # nothing holds on to the other's
    again = explorer.view(FileInMemory("x", png(colour=(0, 90, 0))))
    assert again is first
    other = views.Explorer(explorer.opened).view(FileInMemory("x", png(colour=(0, 90, 0)))).speaks(3)
    for ours, theirs in zip(maps, other, strict=True):
        for name, found in ours.items():
            torch.testing.assert_close(found, theirs[name])


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    torch.manual_seed(0)
    model = gcvit.create_model("gcvit_pico", num_classes=4, img_size=64).eval()
    found = Opened(CLASSIFY, model, "gcvit_pico", Preprocessing((64, 64)), ["<b>a</b>", "b\u202e", "c", "d"])
    with TestClient(make_app(Server(found)), base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


def test_the_page_and_all_that_it_asks_for(client: TestClient) -> None:
    for path in FILES:
        answer = client.get(f"/{path}")
        assert answer.status_code == 200
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text
    assert client.get("/model").json()["examples"] == [str(i) for i in range(EXAMPLES)]
    assert client.get("/examples/0.png").headers["content-type"] == "image/png"
    assert client.post(f"/examples/{EXAMPLES}").status_code == 404
    shown = client.post("/examples/0").json()
    assert shown == client.get(f"/pictures/{shown['id']}").json()
    assert [target["label"] for target in shown["targets"]].count("<b>a</b>") == 1
    sent = client.post("/pictures", params={"name": "a\n\x1b.png"}, content=png()).json()
    assert sent["name"] == r"a\n\x1b.png"
    assert client.get(f"/pictures/{sent['id']}.png").content.startswith(b"\x89PNG")
    point = client.get(f"/pictures/{sent['id']}/point?stage=1&block=1&x=0.5&y=0.5").json()
    assert set(point) == {"window", "image", "readers"}
    assert len(point["image"]["values"]) == point["image"]["rows"] * point["image"]["columns"]
    target = f"/pictures/{sent['id']}/target?stage=1&target=0"
    assert set(client.get(target).json()) == {"cam", "values", "queries"}
    at = f"/pictures/{sent['id']}/point?stage=1&block=1&x=0.5&y=0.5"
    for address, key, kinds in (
        (f"{at}&map=", "image", ("image", "window", "norm")),
        (f"{target}&cam=", "cam", ("element-wise", "grad-cam", "eigen-cam")),
    ):
        found = [client.get(address + kind).json() for kind in kinds]
        assert len({tuple(one[key]["values"]) for one in found}) == 3
        assert client.get(f"{address}other").status_code == 422


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("point?stage=9&block=0&x=0.5&y=0.5", 422),
        ("point?stage=0&block=99&x=0.5&y=0.5", 422),
        ("point?stage=0&block=0&head=99&x=0.5&y=0.5", 422),
        ("point?stage=0&block=0&x=1.5&y=0.5", 422),
        ("point?stage=0&block=0&x=nan&y=0.5", 422),
        ("point?stage=-1&block=0&x=0.5&y=0.5", 422),
        ("target?stage=0&target=77", 422),
        ("target?stage=7&target=0", 404),
    ],
)
def test_what_is_not_there_is_told(client: TestClient, asked: str, status: int) -> None:
    name = client.post("/examples/1").json()["id"]
    answer = client.get(f"/pictures/{name}/{asked}")
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["error"], str)
    assert client.get(f"/pictures/nobody/{asked}").status_code in (404, 422)


def test_a_picture_that_cannot_be_read_is_told(client: TestClient) -> None:
    for content in (b"", b"nothing", png()[:80]):
        answer = client.post("/pictures?name=x", content=content)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("cannot read image x: ")
