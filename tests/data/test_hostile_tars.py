"""Tar archives and indexes from strangers: a right answer or a refusal, soon, with little memory."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcvit.data import tar_index, tars
from gcvit.data.classify_doctor import examine
from gcvit.data.images import ImageError, load_picture
from gcvit.data.members import Contents
from gcvit.data.tars import contents_of, scan, write_index
from gcvit.errors import UserError

from .test_doctor import photo
from .test_tars import pack, seal
from .writing import images_in

GIB = 1 << 30
LONG_NAME, LONG_LINK, PAX, PAX_OF_ALL, PLAIN = b"L", b"K", b"x", b"g", b"0"
NUMBERS = [
    *(
        b"00000000000\0",
        b"77777777777\0",
        b"-0000000001\0",
        b"            ",
        b"\0" * 12,
        b"1_000000000\0",
        b"0o777777777\0",
    ),
    *(b"\x80" + b"\0" * 10 + b"\x01", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\x80" + b"\0" * 5 + b"\x01\x80\0\0\0\0"),
]


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def summed(block: bytes) -> bytes:
    """The header with the checksum that it needs."""
    block = block[:148] + b"        " + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    return str(len(rest) + len(str(len(rest) + 2))).encode() + rest


HUGE = {
    **{
        f"{kind!r} claims 6 GB": header("././@LongLink", kind, 6 * GIB)
        for kind in (LONG_NAME, LONG_LINK, PAX, PAX_OF_ALL)
    },
    "a folder claims 6 GB": header("cat/", b"5", 6 * GIB),
    "one behind the other": header("x", PAX, 12) + padded(record("a", "b" * 3)) + header("x", PAX, 12),
    "zeros behind the end": header("cat/1.png", PLAIN, 0),
    "20,000 attributes": (header("x", PAX, 9) + padded(b"9 key=va\n")) * 20_000,
    "20,000 of all": (header("x", PAX_OF_ALL, 9) + padded(b"9 key=va\n")) * 20_000,
    "20,000 names": (header("x", LONG_NAME, 9) + padded(b"cat/1.pn\0")) * 20_000,
    "a name of 1 MB": header("x", LONG_NAME, 1 << 20) + b"cat/" + b"x" * (1 << 20),
    "a deep name": header("x", LONG_NAME, 3000) + padded(b"a/" * 1499 + b"b\0") + header("x", PLAIN, 0) + bytes(1024),
    "a deep name in attributes": header("x", PAX, 4014) + padded(record("path", "a/" * 2001)) + header("x", PLAIN, 0),
    "a size of a million digits": header("x", PAX, 60_012)
    + padded(record("size", "9" * 60_000))
    + header("x", PLAIN, 0),
}


@pytest.mark.parametrize("what", HUGE)
def test_what_is_huge_or_endless_is_refused_at_once(tmp_path, what):
    archive = tmp_path / "a.tar"
    archive.write_bytes(HUGE[what])
    if "GB" in what or "behind" in what:
        os.truncate(archive, 7 * GIB)  # a sparse file: it takes no room
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UserError, match=r"a\.tar: ") as caught:
        scan(archive)
    assert time.process_time() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000


def test_an_image_of_many_gigabytes_is_not_read(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(header("cat/1.png", PLAIN, 6 * GIB))
    os.truncate(archive, 6 * GIB + 2048)
    (member,) = scan(archive)
    with pytest.raises(ImageError, match=r"a\.tar:cat/1\.png: 6,442,450,944 bytes are"):
        load_picture(member)


@pytest.mark.parametrize(
    "records",
    [
        *(
            b"12 path=cat/1",
            b"99 path=x\n",
            b"-1 path=x\n",
            b"9 path:x\n\n",
            b"5 =x\n",
            b"8path=x\n",
            b"7 path=x\n",
            b"\0" * 9,
        ),
        *(record("size", "-1"), record("size", "1e3"), record("size", "٣"), record("size", "99999999")),
        record("GNU.sparse.major", "1"),
    ],
)
def test_attributes_that_are_none(tmp_path, records):
    archive = tmp_path / "a.tar"
    archive.write_bytes(header("x", PAX, len(records)) + padded(records) + header("cat/1.png", PLAIN, 0) + bytes(1024))
    with pytest.raises(UserError):
        scan(archive)


@pytest.mark.parametrize("key", ["path", "size", "linkpath", "GNU.sparse.size"])
def test_nothing_is_said_of_all_files(tmp_path, key):
    said = record("comment", "by git") + record(key, "1")
    for content in (said, record("comment", "by git")):
        archive = tmp_path / "a.tar"
        head = header("x", PAX_OF_ALL, len(content)) + padded(content)
        archive.write_bytes(head + header("cat/1.png", PLAIN, 3) + padded(b"one") + bytes(1024))
        if content is said:
            with pytest.raises(UserError, match="one name or size for all files"):
                scan(archive)
        else:
            assert [member.read() for member in scan(archive)] == [b"one"]


def test_of_two_names_the_first_counts_as_for_others(tmp_path):
    archive, end = tmp_path / "a.tar", header("cat/3.png", PLAIN, 0) + bytes(1024)
    long, path = header("x", LONG_NAME, 10) + padded(b"cat/1.png\0"), record("path", "cat/2.png")
    attributes = header("x", PAX, len(path)) + padded(path)
    for headers, name in ((long + attributes, "cat/1.png"), (attributes + long, "cat/2.png"), (b"", "cat/3.png")):
        archive.write_bytes(headers + end)
        assert [member.name for member in scan(archive)] == [name] == [*as_tarfile_reads(archive)]


@pytest.mark.parametrize("size", [1, 9, 11, 600])
def test_a_long_name_ends_where_it_says(tmp_path, size):
    archive = tmp_path / "a.tar"
    name = header("x", LONG_NAME, size) + padded(b"cat/1.png")
    archive.write_bytes(name + header("cat/3.png", PLAIN, 0) + bytes(1024))
    if size in (9, 11):  # with and without zeros at its end
        assert [member.name for member in scan(archive)] == ["cat/1.png"]
    else:
        with pytest.raises(UserError, match="damaged: a name that is none"):
            scan(archive)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """An archive with a few blocks changed, repeated, left out or cut off, mostly under right checksums."""
    blocks = [content[at : at + 512] for at in range(0, len(content), 512)]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(blocks))
        block = bytearray(blocks[at])
        where = draw.randrange(512)
        kind = draw.randrange(7)
        if kind == 0:
            block[where] ^= 1 << draw.randrange(8)
        elif kind == 1:
            block[124:136] = draw.choice(NUMBERS)
        elif kind == 2:
            block[156:157] = draw.choice([bytes([one]) for one in b"LKxgXS0\x00571234ZDVM"])
        elif kind == 3:
            block[where:] = draw.randbytes(20)[: 512 - where] + block[where + 20 :]
        elif kind == 4:
            blocks.insert(at, draw.choice(blocks))
        elif kind == 5 and len(blocks) > 1:
            del blocks[at]
        elif kind == 6:
            return b"".join(blocks)[: at * 512 + where]
        if kind < 4:
            blocks[at] = summed(bytes(block)) if draw.random() < 0.7 else bytes(block)
    return b"".join(blocks)


def as_tarfile_reads(archive: Path) -> dict[str, tuple[int, int]]:
    """Where its images are, by a reader that trusts archives."""
    found = {}
    with tarfile.open(archive, "r:") as tar:
        for info in tar:
            parts = [part for part in info.name.split("/") if part not in ("", ".")]
            if info.isreg() and parts[-1:] and parts[-1].endswith(".png") and not any(p.startswith(".") for p in parts):
                found["/".join(parts)] = (info.offset_data, info.size)
    return found


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_mutations_are_refused_or_read_as_others_read_them(tmp_path_factory, draw, form):
    folder = tmp_path_factory.mktemp("mutated")
    names = ["cat/1.png", f"dog/{'x' * draw.randint(1, 150)}.png", "./a/b/é.png", f"c/{'é' * 60}.png", "notes.txt"]
    whole = pack(folder / "a.tar", {name: draw.randbytes(draw.randint(0, 1300)) for name in names}, form).read_bytes()
    archive = folder / "b.tar"
    for _ in range(20):
        archive.write_bytes(mutated(whole, draw))
        try:
            found = {member.name: (member.offset, member.size) for member in scan(archive)}
        except UserError:
            continue
        assert found == as_tarfile_reads(archive)


def indexed(tmp_path: Path) -> tuple[Path, Contents, bytes]:
    names = {"cat/1.png": b"one", "dog/é.png": b"two", "notes.txt": b""}
    archive = pack(tmp_path / "a.tar", names)
    contents, _ = contents_of(archive)
    path, _ = write_index(archive)
    return archive, contents, path.read_bytes()


def read(archive: Path, index: bytes) -> Contents | str:
    stat = archive.stat()
    tar_index.index_path(archive).write_bytes(index)
    return tar_index.read(archive, stat.st_size, stat.st_mtime_ns)


def test_any_flipped_bit_of_an_index_is_noticed(tmp_path):
    archive, contents, whole = indexed(tmp_path)
    assert read(archive, whole) == contents
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert isinstance(read(archive, bytes(flipped)), str), bit
    for length in range(len(whole)):
        assert isinstance(read(archive, whole[:length]), str)
    assert isinstance(read(archive, whole + b" "), str)


def test_only_what_has_been_there_for_a_while_is_remembered(tmp_path, monkeypatch):
    """File systems' clocks stand still for milliseconds: what changes twice in one may look the same."""
    archive, contents, whole = indexed(tmp_path)
    damaged = whole.replace(b"1.png", b"2.png")
    for index, trouble in ((whole, ""), (damaged, f"{archive}: a.tar.index.json is damaged")) * 3:
        tar_index.index_path(archive).write_bytes(index)
        before = tars._read.cache_info()
        assert images_in(archive) == (list(contents.images), trouble)
        assert tars._read.cache_info() == before
    now = time.time_ns()
    monkeypatch.setattr(tars.time, "time_ns", lambda: now + 10**10)
    for _ in range(2):
        assert images_in(archive)[1] == trouble
    assert tars._read.cache_info().hits == before.hits + 1


def test_what_is_not_indexed_is_known_with_an_index_too(tmp_path):
    archive, contents, _ = indexed(tmp_path)
    assert contents.passed_over == {"": {".txt": (1, "notes.txt")}}
    again, trouble = contents_of(archive)
    assert (again, trouble) == (contents, "")


def test_an_index_of_the_first_form_is_passed_over_with_a_note(tmp_path):
    archive, contents, whole = indexed(tmp_path)
    content = json.loads(whole)
    old = {"format": 1, **{key: content[key] for key in ("bytes", "mtime_ns", "folders")}}
    assert "older form" in read(archive, json.dumps(old, separators=(",", ":")).encode())
    members, trouble = images_in(archive)
    assert members == list(contents.images)
    assert trouble == f"{archive}: a.tar.index.json is of an older form, without a checksum"
    write_index(archive)
    assert images_in(archive)[1] == ""


HOSTILE_FOLDERS = [
    *({folder: [["1.png", 512, 3]]} for folder in ("/cat", "cat/..", "a//b", "./cat", "\ud800")),
    *({"cat": [[name, 512, 3]]} for name in ("../1.png", "1.txt", "", ["1.png"], 1)),
    *({"cat": [["1.png", at, size]]} for at, size in ((True, 3), (512, 10**30), (0, 3), (512, -1), ("512", 3))),
    *({"cat": [["1.png", 512, 3]] * 1000}, 5, "x" * 100),
]


@pytest.mark.parametrize("folders", HOSTILE_FOLDERS)
def test_a_right_checksum_does_not_make_an_index_right(tmp_path, folders):
    archive, _, whole = indexed(tmp_path)
    path = tar_index.index_path(archive)
    seal(path, {**json.loads(whole), "folders": folders})
    assert read(archive, path.read_bytes()) == "a.tar.index.json is damaged"


def test_an_index_is_no_larger_than_its_archive_allows(tmp_path):
    archive, _, whole = indexed(tmp_path)
    path = tar_index.index_path(archive)
    for body in (b"[" * 50_000 + b"]" * 50_000 + b"}", b"[" * 200, b'"folders":' + b"9" * 5000 + b"}"):
        digest = hashlib.sha256(body).hexdigest()
        assert read(archive, whole[: whole.index(b'"sha256"')] + f'"sha256":"{digest}",'.encode() + body) != ""
        assert isinstance(read(archive, path.read_bytes()), str)
    os.truncate(path, 5 * GIB)
    start = time.process_time()
    assert "damaged" in tar_index.read(archive, archive.stat().st_size, archive.stat().st_mtime_ns)
    assert time.process_time() - start < 1


def test_the_doctor_compares_an_index_with_the_headers(tmp_path):
    images = [photo(tmp_path / name) for name in ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png")]
    archive = pack(tmp_path / "a.tar", {str(one.relative_to(tmp_path)): one.read_bytes() for one in images})
    path, _ = write_index(archive)
    assert not examine(archive).faults
    content = json.loads(path.read_bytes())
    cats, dogs = content["folders"]["cat"], content["folders"]["dog"]
    cats[0][1:], dogs[0][1:] = dogs[0][1:], cats[0][1:]  # labels are swapped
    seal(path, content)
    assert images_in(archive)[1] == ""
    (fault,) = examine(archive).faults
    assert (fault.kind, fault.files) == ("index that is not the archive's", [str(path)])
    assert "is not where it says; `gcvit data index` writes it anew" in fault.detail
    write_index(archive)
    assert not examine(archive).faults


def tar(*words: object) -> None:
    subprocess.run(["tar", *map(str, words)], check=True, capture_output=True)


def gnu_tar() -> bool:
    if not shutil.which("tar"):
        return False
    return b"GNU tar" in subprocess.run(["tar", "--version"], capture_output=True, check=False).stdout


@pytest.mark.skipif(not gnu_tar(), reason="GNU tar is not installed")
@pytest.mark.parametrize("kind", ["soft link", "hard link", "sparse", "absolute", "fifo", "two archives", "compressed"])
def test_what_refusals_advise_works(tmp_path, kind):
    images, archive, again = tmp_path / "images", tmp_path / "a.tar", tmp_path / "again.tar"
    for name in ("cat/1.png", "dog/2.png"):
        photo(images / name)
    flags: list[str] = []
    if kind == "soft link":
        (images / "cat/3.png").symlink_to("1.png")
    elif kind == "hard link":
        (images / "cat/3.png").hardlink_to(images / "cat/1.png")
    elif kind == "sparse":
        with (images / "cat/3.png").open("wb") as file:
            file.write(b"x" * 5000)
            file.truncate(1 << 20)
        flags = ["--sparse"]
    elif kind == "fifo":
        os.mkfifo(images / "cat/3.png")
    elif kind == "compressed":
        flags = ["--gzip"]
    if kind == "absolute":
        tar("-cPf", archive, images / "cat", images / "dog")
    else:
        tar("-cf", archive, *flags, "-C", images, ".")
    if kind == "two archives":
        archive.write_bytes(archive.read_bytes() * 2)
    with pytest.raises(UserError) as caught:
        scan(archive)
    advice = str(caught.value)
    if kind in ("soft link", "hard link"):
        assert "(tar --dereference --hard-dereference)" in advice
        tar("-cf", again, "--dereference", "--hard-dereference", "-C", images, ".")
    elif kind == "sparse":
        assert "(tar without --sparse)" in advice
        tar("-cf", again, "-C", images, ".")
    elif kind == "absolute":
        assert "(tar -cf NEW.tar -C FOLDER .)" in advice
        tar("-cf", again, "-C", images, ".")
    elif kind == "fifo":
        assert "leave it out when you pack the images anew" in advice
        (images / "cat/3.png").unlink()
        tar("-cf", again, "-C", images, ".")
    elif kind == "compressed":
        assert "decompress it to a plain .tar" in advice
        gzipped = archive.rename(tmp_path / "again.tar.gz")
        subprocess.run(["gzip", "-d", gzipped], check=True)
    else:
        assert "packed anew, or given as several files" in advice
        tar("-cf", again, "-C", images, ".")
    found = {member.name: member.read() for member in scan(again)}
    assert found == {path.relative_to(images).as_posix(): path.read_bytes() for path in images.rglob("*.png")}
