"""Tar archives: what is in them, by whom else it is read, and what they may not hold."""

import gzip
import hashlib
import io
import json
import multiprocessing
import os
import tarfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gcvit.data.images import ImageError, load_picture
from gcvit.data.members import Member
from gcvit.data.tar_index import FORMAT
from gcvit.data.tars import index_path, scan, write_index

from .writing import images_in

PICTURE = io.BytesIO()
Image.new("RGB", (6, 5), (9, 0, 0)).save(PICTURE, "PNG")
PNG = PICTURE.getvalue()


def pack(path: Path, files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def seal(path: Path, content: dict) -> None:
    """Write an index with the right checksum, whatever is in it."""
    body = json.dumps({key: content[key] for key in content if key not in ("format", "sha256")})[1:].encode()
    path.write_bytes(f'{{"format":{FORMAT},"sha256":"{hashlib.sha256(body).hexdigest()}",'.encode() + body)


def test_what_counts(tmp_path):
    archive = tmp_path / "a.tar"
    files = {"./cat/1.png": b"one", "dog/x.JPEG": b"", "readme.txt": b"no", ".hid/2.png": b"h", "dog/._x.jpeg": b"mac"}
    pack(archive, {**files, "cat/1.png": b"newer"})
    with tarfile.open(archive, "a") as tar:
        folder = tarfile.TarInfo("bird.png")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    assert [(member.name, member.read()) for member in scan(archive)] == [("dog/x.JPEG", b""), ("cat/1.png", b"newer")]


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=60).filter(
        lambda name: name.strip(".") == name
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30)
@given(
    st.dictionaries(NAMES.map("/".join), st.binary(max_size=1200), min_size=1, max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_bytes_are_those_that_tarfile_reads_with_and_without_an_index(tmp_path_factory, files, form):
    archive = pack(tmp_path_factory.mktemp("t") / "a.tar", {f"{name}.png": data for name, data in files.items()}, form)
    with tarfile.open(archive) as tar:
        expected = {info.name: tar.extractfile(info).read() for info in tar if tar.extractfile(info)}
    scanned = scan(archive)
    assert {member.name: member.read() for member in scanned} == expected
    assert write_index(archive) == (index_path(archive), len(files))
    assert images_in(archive) == (scanned, "")


def test_an_index_is_used_until_the_archive_changes(tmp_path):
    archive = pack(tmp_path / "a.tar", {"cat/1.png": b"one"})
    assert images_in(archive) == (scan(archive), f"{archive} has no index")
    path, _ = write_index(archive)
    content = json.loads(path.read_bytes())
    assert content["folders"] == {"cat": [["1.png", 512, 3]]}
    content["folders"]["cat"][0][0] = "renamed.png"
    seal(path, content)
    os.utime(archive, ns=(1, 1))
    assert images_in(archive) == (
        scan(archive),
        f"{archive}: {path.name} is older than the archive, or belongs to another one",
    )
    content["mtime_ns"] = 2
    seal(path, content)
    os.utime(archive, ns=(2, 2))
    assert images_in(archive)[0][0].name == "cat/renamed.png"
    pack(archive, {"cat/1.png": b"one", "cat/2.png": b"two"})
    members, trouble = images_in(archive)
    assert [member.read() for member in members] == [b"one", b"two"]
    assert "older" in trouble


@pytest.mark.parametrize(
    "folders",
    [
        *(None, [], {"cat": 3}, {"cat": [["1.png", 512]]}),
        *({"cat": [["1.png", 512, 10**6]]}, {"cat": [["1.png", -3, 3]]}, {"cat": [["1.png", 512.0, 3]]}),
    ],
)
def test_a_damaged_index_is_passed_over(tmp_path, folders):
    archive = pack(tmp_path / "a.tar", {"cat/1.png": b"one"})
    path, _ = write_index(archive)
    content = json.loads(path.read_bytes())
    if folders is None:
        path.write_text("{")
    else:
        seal(path, {**content, "folders": folders})
    members, trouble = images_in(archive)
    assert [member.read() for member in members] == [b"one"]
    assert trouble == f"{archive}: a.tar.index.json is damaged"


def special(kind: bytes, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo("cat/odd.png")
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info


HOSTILE = {
    "'cat/odd.png' is a link to '/etc/passwd'": special(tarfile.SYMTYPE, linkname="/etc/passwd"),
    "'cat/odd.png' is a link to 'cat/1.png'": special(tarfile.LNKTYPE, linkname="cat/1.png"),
    "'cat/odd.png' is a device": special(tarfile.CHRTYPE),
    "'cat/odd.png' is a FIFO": special(tarfile.FIFOTYPE),
    "'cat/odd.png' is sparse": special(tarfile.REGTYPE, pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}),
    "'cat/odd.png' is of an unknown kind": special(b"Z"),
    "the name of '/cat/1.png' leads out": special(tarfile.REGTYPE, name="/cat/1.png"),
    "the name of 'cat/../../1.png' leads out": special(tarfile.REGTYPE, name="cat/../../1.png"),
    "the name of '../notes.txt' leads out": special(tarfile.REGTYPE, name="../notes.txt"),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_members_are_refused(tmp_path, message):
    archive = pack(tmp_path / "bad.tar", {"cat/1.png": PNG})
    with tarfile.open(archive, "a", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(HOSTILE[message])
    for read in (scan, write_index, images_in):
        with pytest.raises(ValueError, match=f"bad.tar: {message}"):
            read(archive)
    assert not index_path(archive).exists()


def test_a_negative_size_does_not_go_back_and_forth_for_ever(tmp_path):
    header = bytearray(special(tarfile.REGTYPE).tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # minus 512, in base 256
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    archive = tmp_path / "loop.tar"
    archive.write_bytes(pack(tmp_path / "a.tar", {"cat/1.png": PNG}).read_bytes()[:1024] + bytes(header) + bytes(1024))
    with pytest.raises(ValueError, match=r"loop\.tar: "):
        scan(archive)


@pytest.mark.parametrize(("form", "mode"), [("gzip", "w:gz"), ("bzip2", "w:bz2"), ("xz", "w:xz")])
def test_compressed_archives_are_refused(tmp_path, form, mode):
    with tarfile.open(tmp_path / "a.tar", mode) as tar:
        tar.addfile(tarfile.TarInfo("cat/1.png"))
    with pytest.raises(ValueError, match=rf"a\.tar: it is compressed \({form}\).* decompress it to a plain \.tar"):
        scan(tmp_path / "a.tar")


def test_an_archive_that_is_cut_off_anywhere_is_refused(tmp_path):
    whole = pack(tmp_path / "whole.tar", {f"cat/{i}.png": PNG for i in range(3)}).read_bytes()
    end = len(whole.rstrip(b"\0"))
    archive = tmp_path / "cut.tar"
    for length in range(0, end, 97):
        archive.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.tar: .*cut off"):
            scan(archive)
    for member in range(1, 4):  # just where a member ends
        archive.write_bytes(whole[: member * 1024])
        with pytest.raises(ValueError, match="cut off"):
            scan(archive)
    archive.write_bytes(whole[:1024] + b"x" * 512 + whole[1536:])
    with pytest.raises(ValueError, match="damaged: no tar header at byte 1,024"):
        scan(archive)
    archive.write_bytes(whole + whole)  # cat one.tar other.tar
    with pytest.raises(ValueError, match="there is more behind its end"):
        scan(archive)
    archive.write_bytes(gzip.compress(b"")[:1] * 700)
    with pytest.raises(ValueError, match="not a tar archive"):
        scan(archive)


def test_images_are_read_from_archives_as_from_files(tmp_path):
    archive = pack(
        tmp_path / "a.tar", {"cat/1.png": PNG, "cat/2.png": PNG[:40], "cat/3.png": b"", "cat/4.png": b"text"}
    )
    good, cut, empty, text = scan(archive)
    (tmp_path / "1.png").write_bytes(PNG)
    assert load_picture(good).tobytes() == load_picture(tmp_path / "1.png").tobytes()
    for member, reason in ((cut, ""), (empty, "the file is empty"), (text, "not an image")):
        with pytest.raises(ImageError) as caught:
            load_picture(member)
        assert str(caught.value).startswith(f"cannot read image {archive}:{member.name}: {reason}")
    beyond = Member(archive, "cat/5.png", archive.stat().st_size - 10, 20)
    with pytest.raises(ImageError, match=r"a\.tar:cat/5\.png: the archive ends after 10 of its 20 bytes"):
        load_picture(beyond)
    with pytest.raises(ImageError, match=r"none\.tar:x\.png: .*No such file"):
        load_picture(Member(tmp_path / "none.tar", "x.png", 0, 1))


def test_reading_in_threads_and_forked_processes(tmp_path):
    contents = {f"cat/{i}.png": bytes([i]) * 5000 for i in range(100)}
    members = scan(pack(tmp_path / "a.tar", contents))
    wrong: list[str] = []

    def read_all() -> None:
        wrong.extend(member.name for member in members * 20 if member.read() != contents[member.name])

    read_all()  # opens the archive, so that the processes inherit the open file
    processes = [
        multiprocessing.get_context("fork").Process(target=exit_code, args=(read_all, wrong)) for _ in range(2)
    ]
    threads = [threading.Thread(target=read_all) for _ in range(2)]
    for process in processes:
        process.start()
    for thread in threads:
        thread.start()
    for one in (*threads, *processes):
        one.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert wrong == []


def exit_code(read, wrong):
    read()
    os._exit(len(wrong))


def test_many_archives_do_not_use_up_the_open_files(tmp_path):
    members = [scan(pack(tmp_path / f"{i}.tar", {"cat/1.png": b"x"}))[0] for i in range(600)]
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert all(member.read() == b"x" for member in members)
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 256
