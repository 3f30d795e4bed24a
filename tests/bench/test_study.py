"""A file of results is whole, or it is said which line is not; its folder is there before there are any."""

import json
from pathlib import Path

import pytest
import torch

from gcvit.bench.study import Rows, machines, made_on, read_rows
from gcvit.errors import UserError

ROW = {"arm": "local", "seed": 0, "budget": {}}


@pytest.mark.parametrize(
    "damaged", ["{", "", "[1]", "null", '{"arm": "local", "seed": 0}', '{"arm": "local", "budget": {}}', "\udcff"]
)
def test_the_damaged_line_is_named(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(f"{json.dumps(ROW)}\n{damaged}\n".encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"results.jsonl, line 2: no whole result, .* delete that line"):
        Rows(path, {}, ("arm", "seed"))


def test_what_is_added_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new/results.jsonl"
    Rows(path, {}, ("arm", "seed")).add({"arm": "local", "seed": 0})
    assert Rows(path, {}, ("arm", "seed")).rows == read_rows(path) == [ROW]


def test_data_that_an_older_file_has_as_they_were_typed_are_the_same(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    typed = json.dumps({"arm": "local", "budget": {"data": "photos"}}) + "\n"
    (tmp_path / "results.jsonl").write_text(typed)
    assert len(Rows(tmp_path / "results.jsonl", {"data": "photos"}, ("arm",)).rows) == 1
    assert len(Rows(tmp_path / "results.jsonl", {"data": f"{tmp_path}/photos"}, ("arm",)).rows) == 1
    with pytest.raises(UserError, match="another budget: data"):
        Rows(tmp_path / "results.jsonl", {"data": f"{tmp_path}/others"}, ("arm",))


def test_a_folder_that_cannot_be_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file"
    for folder, said in ((file, file), (file / "in", file), (Path("/proc/x"), "/proc/x")):
        with pytest.raises(UserError, match=rf"^{said}(: no results can be written there| is a file; give the name)"):
            Rows(folder / "results.jsonl", {}, ())
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(UserError, match=r"results.jsonl is no file of results: Is a directory"):
        Rows(tmp_path / "results.jsonl", {}, ())


def test_each_machine_is_named_once() -> None:
    rows = [{"machine": {"processor": "A", "GPU": "B"}}, {}, {"machine": {"processor": "A", "GPU": "B"}}]
    assert machines(rows) == "processor A; GPU B and machine not written down"
    assert made_on(torch.device("cpu")).keys() == {"processor", "software"}
