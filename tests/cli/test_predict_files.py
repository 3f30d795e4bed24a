"""`gcvit predict`: the files that it writes, whatever the pictures are called."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gcvit.cli.predict import result_names
from gcvit.errors import UserError

from .conftest import Command
from .predicted import picture, results, three

CPU = ["--device", "cpu"]


def test_a_classifiers_pictures_are_saved_where_asked(gcvit: Command, best: Path) -> None:
    picture("photos/a.png", 300, 200)
    result = gcvit("predict", best, "photos", "--out", "out", "--json", *CPU)
    assert result.code == 0, result.err
    assert results("out") == {"a.png", "a.json"}
    assert result.rows == [json.loads(Path("out/a.json").read_text())]
    with Image.open(result.rows[0]["drawn"]) as image:
        assert image.height > 200  # with the guesses below


def test_a_file_whose_name_is_no_text(gcvit: Command, model: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    picture("photos/good.png").rename(f"photos/{name}")
    for flags in ([], ["--json"]):
        result = gcvit("predict", model, "photos", "--out", "out", *CPU, *flags)
        assert result.code == 0, result.err
        assert "caf\\udce9.png" in result.out
    assert result.rows[0]["file"] == f"photos/{name}"


@pytest.mark.parametrize("name", ["\x7f\x9b\x1b[2J", "\u202egnp", "\u2028", "größe 日本 😀", '"\\\n'])
def test_a_line_of_json_is_json_whatever_the_name(gcvit: Command, best: Path, name: str) -> None:
    picture(f"photos/{name}.png")
    Path(f"photos/{name}.gif").touch()
    result = gcvit("predict", best, "photos", "--out", "out", "--json", *CPU)
    assert [row["file"] for row in result.rows] == [f"photos/{name}.gif", f"photos/{name}.png"]
    assert result.out.isascii()
    assert json.loads(Path(f"out/{name}.png.json").read_text()) == result.rows[1]


def test_images_of_one_name_do_not_overwrite_one_another(gcvit: Command, segment_model: Path) -> None:
    files = [picture("a/1.png", 33), picture("b/1.png", 34), picture("b/c/1.png", 35)]
    result = gcvit("predict", segment_model, *files, files[0], "--out", "out", "--json", *CPU)
    assert result.code == 0, result.err
    assert results("out") == three("a/1", "b/1", "b/c/1")
    assert [json.loads(Path(f"out/{name}.json").read_text())["size"][1] for name in ("a/1", "b/1", "b/c/1")] == [
        33, 34, 35,
    ]  # fmt: skip
    assert len(result.out.splitlines()) == 3


def test_names_are_never_the_same() -> None:
    for files in (["a.png", "a.jpg"], ["a.png", "a.jpg", "a.png.gif"], ["x/a.png", "y/a.png"], ["a", "a.png"]):
        names = result_names([Path(file) for file in files], Path("out"))
        assert len(set(names.values())) == len(files)
        assert all(name.is_relative_to("out") for name in names.values())
    assert result_names([Path("../p/a.png")], Path("out")) == {Path("../p/a.png"): Path("out/a")}


def test_names_of_many_files_take_no_longer_for_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each image and each folder of results is resolved once."""
    resolve, asked = Path.resolve, []
    monkeypatch.setattr(Path, "resolve", lambda path: asked.append(path) or resolve(path))
    files = [tmp_path / f"{folder}/{number}.png" for folder in "ab" for number in range(50)]
    names = result_names(files, tmp_path / "out")
    assert names[files[-1]] == tmp_path / "out/b/49"
    assert sorted(asked) == sorted([*files, tmp_path / "out/a", tmp_path / "out/b"])


@pytest.mark.parametrize("name", ["x/a.b.png", "x/a.b.labels.png", "x/a.png", "a.b.png", "x/a.bc.png"])
def test_an_image_that_results_might_replace_is_told(tmp_path: Path, name: str) -> None:
    """Also one that is seen through a link."""
    (tmp_path / "in/x").mkdir(parents=True)
    (tmp_path / "in/c.jpg").symlink_to(tmp_path / "out" / name)
    files = [tmp_path / "in/x/a.b.jpg", tmp_path / "in/c.jpg"]
    if name.startswith("x/a.b."):
        with pytest.raises(UserError, match=f"out/{name} is one of the images and might be overwritten"):
            result_names(files, tmp_path / "out")
    else:
        assert [*result_names(files, tmp_path / "out").values()] == [tmp_path / "out/x/a.b", tmp_path / "out/c"]


def test_an_image_is_never_overwritten(gcvit: Command, segment_model: Path) -> None:
    file = picture("out/a.labels.png")
    shutil.copy(picture("photos/a.png"), "out/a.png")
    before = file.read_bytes()
    result = gcvit("predict", segment_model, "out/a.png", file, "--out", "out", *CPU)
    assert result.code == 2
    assert "is one of the images and might be overwritten" in result.message
    result = gcvit("predict", segment_model, "out", "--out", "out", *CPU)
    assert result.code == 2
    assert "--out out is the folder with the images" in result.message
    assert file.read_bytes() == before
    assert results("out") == {"a.png", "a.labels.png"}


def test_results_in_a_folder_that_is_searched_are_no_images(gcvit: Command, segment_model: Path) -> None:
    picture("photos/a.png")
    for _ in range(2):
        result = gcvit("predict", segment_model, "photos", "--out", "photos/out", *CPU)
        assert result.code == 0, result.err
    assert results("photos/out") == three("a")
