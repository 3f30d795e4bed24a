"""A sidecar comes back as it was written; anything that does not fit its file is refused."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gcvit.errors import UserError
from gcvit.export.formats import SUFFIXES, Format
from gcvit.export.sidecar import Sidecar, hashes, parts, read_sidecar, sidecar_path, write_sidecar

FORMATS: tuple[Format, ...] = ("torch-export", "onnx", "openvino", "aot")


def make(folder: Path, to: Format = "onnx", **changes: Any) -> Path:
    """An exported file that holds nothing of use, and its sidecar."""
    path = folder / f"gcvit_pico-64x96{SUFFIXES[to]}"
    for part in parts(path, to):
        part.write_bytes(b"what a runtime reads " + part.suffix.encode())
    write_sidecar(path, replace(sidecar(path, to), **changes))
    return path


def sidecar(path: Path, to: Format) -> Sidecar:
    return Sidecar(
        format=to,
        task="segment",
        name="gcvit_pico",
        size=(64, 96),
        int8=False,
        in_chans=3,
        classes=["Straße", "New\u00a0York"],
        palette=[(0, 1, 2), (253, 254, 255)],
        preprocessing={"crop": [64, 96], "mean": [0.5, 0.5, 0.5]},
        settings={},
        files=hashes(path, to),
        software={"torch": "2.11"},
        source="runs/best",
        checked={"differences": [{"relative": 1e-7}]},
    )


def edit(path: Path, **values: Any) -> None:
    beside = sidecar_path(path)
    beside.write_text(json.dumps(json.loads(beside.read_text("utf8")) | values))


@pytest.mark.parametrize("to", FORMATS)
def test_it_comes_back(tmp_path: Path, to: Format) -> None:
    path = make(tmp_path, to)
    assert read_sidecar(path) == sidecar(path, to)
    assert {file.name for file in tmp_path.iterdir()} == {*hashes(path, to), f"{path.name}.json"}


@pytest.mark.parametrize("changes", [{"classes": None, "palette": None, "task": "backbone"}, {"int8": True}])
def test_what_may_be_missing(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = make(tmp_path, **changes)
    assert read_sidecar(path) == replace(sidecar(path, "onnx"), **changes)


@pytest.mark.parametrize("to", FORMATS)
def test_a_changed_file_is_refused(tmp_path: Path, to: Format) -> None:
    path = make(tmp_path, to)
    for part in parts(path, to):
        before = part.read_bytes()
        part.write_bytes(before[:-1] + b"!")
        with pytest.raises(ValueError, match=rf"{part.name} is not what was exported.*[Ee]xport the model again"):
            read_sidecar(path)
        part.write_bytes(before)
    assert read_sidecar(path)


@pytest.mark.parametrize("missing", ["gcvit_pico-64x96.xml", "gcvit_pico-64x96.bin", "gcvit_pico-64x96.xml.json"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    path = make(tmp_path, "openvino")
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=rf"{missing}: there is no such file"):
        read_sidecar(path)


@pytest.mark.parametrize("name", ["model.onnx", "gcvit_pico-64x96.xml", "gcvit_pico-64x96"])
def test_a_renamed_file_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path)
    renamed = path.rename(tmp_path / name)
    sidecar_path(path).rename(sidecar_path(renamed))
    with pytest.raises(ValueError, match=rf"is that of {path.name}; give the files their names back"):
        read_sidecar(renamed)


@pytest.mark.parametrize("to", ["openvino", "torch-export"])
def test_a_file_is_not_opened_as_another_format(tmp_path: Path, to: Format) -> None:
    path = make(tmp_path)
    edit(path, format=to)
    with pytest.raises(ValueError, match="its sidecar is that of"):
        read_sidecar(path)


def test_hashes_of_other_files_do_not_help(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / "other").write_bytes(b"")
    edit(path, files={path.name: hashes(path, "onnx")[path.name], "../other": "0" * 64})
    with pytest.raises(ValueError, match=r"that of \.\./other"):
        read_sidecar(path)


@pytest.mark.parametrize("key", [field.name for field in fields(Sidecar)])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = make(tmp_path)
    values = json.loads(sidecar_path(path).read_text("utf8"))
    del values[key]
    sidecar_path(path).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=rf"json: missing keys: {key}; export the model again"):
        read_sidecar(path)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = make(tmp_path)
    edit(path, threads=4)
    with pytest.raises(ValueError, match="json: unknown keys: threads; export the model again"):
        read_sidecar(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("format", wrong) for wrong in ("tensorrt", None, ["onnx"])],
        *[("task", wrong) for wrong in ("depth", 1)],
        *[("size", wrong) for wrong in (64, [64], [64, 0], [64, 64.0], [True, True], [64, 10**7], "64")],
        *[("int8", wrong) for wrong in (0, "no", None)],
        *[("in_chans", wrong) for wrong in (0, True, 3.0)],
        *[("classes", wrong) for wrong in ("cat", [1], ["\x1b[2J"], {"0": "cat"})],
        *[("palette", wrong) for wrong in ([[0, 0]], [[0, 0, 256]], [[0, 0, -1]], [0, 0, 0])],
        ("files", []),
        ("files", {"a": 1}),
        ("name", "\n"),
        ("source", None),
        ("software", {"torch": 2}),
        ("preprocessing", []),
        ("checked", "yes"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, key: str, value: Any) -> None:
    path = make(tmp_path)
    edit(path, **{key: value})
    with pytest.raises(ValueError, match=rf"json: {key} should be .*export the model again"):
        read_sidecar(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_sidecar_is_refused(tmp_path: Path, content: bytes) -> None:
    path = make(tmp_path)
    sidecar_path(path).write_bytes(content)
    with pytest.raises(ValueError, match=r"onnx\.json: not .*export the model again"):
        read_sidecar(path)


def test_numbers_that_json_does_not_have_are_not_written(tmp_path: Path) -> None:
    path = make(tmp_path)
    before = sidecar_path(path).read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sidecar(path, replace(sidecar(path, "onnx"), checked={"relative": float("nan")}))
    assert sidecar_path(path).read_bytes() == before


VALUES = [None, True, -1, 10**9, 10**400, float("nan"), 1e300, "\x1b", "x" * 10**5, [], [[]] * 10**4, {}, {"a": 1}]


@pytest.mark.parametrize("key", [field.name for field in fields(Sidecar)])
def test_any_value_of_a_key_is_taken_or_refused_in_one_line(tmp_path: Path, key: str) -> None:
    path = make(tmp_path)
    for value in VALUES:
        edit(path, **{key: value})
        try:
            read_sidecar(path)
        except UserError as error:
            told = str(error)
        else:
            continue
        finally:
            make(tmp_path)
        assert "\n" not in told
        assert len(told) < 3000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"size": [64, 96], "size": [64, 64]}', "'size' stands in it twice"),
        ('{"size": [1e999, 96]}', "1e999 is no finite number"),
        ('{"size": ' + "9" * 10_000 + "}", "a number of 10000 digits"),
        ('{"size": "' + "x" * 2**22 + '"}', "larger than"),
    ],
)
def test_what_json_would_let_pass_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = make(tmp_path)
    sidecar_path(path).write_text(text)
    with pytest.raises(UserError, match=rf"onnx\.json: .*{message}.*; export the model again"):
        read_sidecar(path)
