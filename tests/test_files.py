"""Atomic writes: the new content, or the old one and nothing beside it."""

import json
import os
from pathlib import Path

import pytest

from gcvit.engine.config import save_config
from gcvit.engine.settings import OptimConfig
from gcvit.errors import UserError
from gcvit.files import parse_json, read_json, require_folder, sha256_of, write_atomically, write_durably, write_json


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "train.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    for write in (lambda: write_atomically(path, b"newer"), lambda: save_config(OptimConfig(), path)):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert path.read_bytes() == b"new"
        assert list(tmp_path.iterdir()) == [path]


def test_a_folder_for_results_is_one_that_can_be_written_into(tmp_path: Path) -> None:
    require_folder(tmp_path / "not/there/yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for wrong, said in (
        (tmp_path / "file", "/file is a file; give the name of a folder"),
        (tmp_path / "link", "/link is a file; give the name of a folder"),
        (tmp_path / "file/under/it", "/file is a file; give the name of a folder"),
        (Path("/proc/nothing"), "^/proc/nothing: no results can be written there"),
        (tmp_path / ("long" * 100), "File name too long"),
    ):
        with pytest.raises(UserError, match=said):
            require_folder(wrong)


def test_a_files_sum_is_that_of_what_was_written(tmp_path: Path) -> None:
    written = write_durably(tmp_path / "a", lambda file: file.write(b"abc"))
    assert written == sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_ends_its_last_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1]})
    assert (tmp_path / "a.json").read_bytes() == b'{\n  "\\u00e9": [\n    1\n  ]\n}\n'


def test_json_from_anybody(tmp_path: Path) -> None:
    values = {"a": [1, -2.5, None, True, "é\ud800"], "b": {"c": 12345678901234567890}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values))
    assert read_json(path) == values
    assert parse_json(b"{}") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as JSON"),
        (b"\xff{}", "not readable as JSON"),
        (b"[1]", "should hold a JSON object, not list"),
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "'c' stands in it twice"),
        (b'{"a": -Infinity}', "-Infinity is no finite number"),
        (b'{"a": -1e999}', "-1e999 is no finite number"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "a number of 10000 digits"),
        (b'{"a":' * 100_000, "not readable as JSON"),
        (b'{"a": "' + b"x" * 100 + b'"}', r"larger than 50 bytes"),
    ],
)
def test_json_that_is_refused_in_a_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    most = 50 if b"x" in content[:10] else 2**22
    with pytest.raises(UserError, match=message) as caught:
        read_json(path, most)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 400
