"""No file takes more memory or time than its pixels do; one limit, said in one way, holds for these."""

import io
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, features

from data.writing import as_member, chunk, png_bytes, tiff_by_hand, tiff_bytes
from gcvit.data.doctor import look_at
from gcvit.data.formats import jpeg
from gcvit.data.images import MAX_PIXELS, ImageError, load_picture, pixel_limit
from gcvit.data.label_maps import LabelMapping, load_labels, read_label_values
from gcvit.data.members import Member
from gcvit.data.settings import PIXEL_LIMIT, PixelFormat
from gcvit.errors import UserError

WIDTH, HEIGHT = 2000, 1000
BYTES = 12  # a pixel, at most, beyond what the decoder takes

READERS = {
    "theirs": lambda file: Image.open(file).load(),
    "image": load_picture,
    "grey": lambda file: load_picture(file, PixelFormat(1)),
    "range": lambda file: load_picture(file, PixelFormat(3, (0.0, 200.0))),
    "doctor": lambda file: look_at(Path(file)),
    "labels": lambda file: load_labels(file, LabelMapping(256, None)),
}
USUAL = ("theirs", "image", "doctor")
LARGE = {
    "a.jpg": USUAL,
    "alpha.png": (*USUAL, "grey", "range"),
    "palette.png": ("theirs", "labels"),
    "deep.png": (*USUAL, "grey"),
    "deep.tif": USUAL,
    "lzw.tif": ("theirs", "image"),
    "flat.webp": USUAL,
}


def write_large_files(folder: Path) -> None:
    """Those of LARGE, of WIDTH × HEIGHT pixels."""
    noise = np.random.default_rng(0).integers(0, 200, (HEIGHT // 20, WIDTH // 20, 4), dtype=np.uint8)
    rgba = Image.fromarray(noise).resize((WIDTH, HEIGHT))
    rgb, deep = rgba.convert("RGB"), np.asarray(rgba.convert("L")).astype(np.uint16) * 257
    turned = Image.Exif()
    turned[274] = 6
    rgb.save(folder / "a.jpg", exif=turned)
    rgba.save(folder / "alpha.png", compress_level=1, exif=turned)
    rgb.convert("P").save(folder / "palette.png")
    Image.fromarray(deep).save(folder / "deep.png", compress_level=1)
    (folder / "deep.tif").write_bytes(tiff_bytes(deep[..., None], photometric="minisblack", compression="lzw"))
    rgb.save(folder / "lzw.tif", compression="tiff_lzw", exif=turned)
    Image.new("RGB", (WIDTH, HEIGHT), (9, 8, 7)).save(folder / "flat.webp", lossless=True)


def peak(reader: str, file: Path) -> float:
    """Bytes a pixel that a process needs at most beyond those it begins with."""
    start, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            READERS[reader](str(file))
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            os.write(end, repr((most - before) * 1024 / WIDTH / HEIGHT).encode())
        finally:
            os._exit(0)
    os.close(end)
    with os.fdopen(start) as answer:
        found = float(answer.read())  # empty where it failed
    os.waitpid(child, 0)
    return found


def measure(folder: str) -> None:
    """Print file, reader and bytes a pixel beyond Pillow's."""
    for name, readers in LARGE.items():
        found = [peak(reader, Path(folder, name)) for reader in readers]
        for reader, bytes_a_pixel in zip(readers, found, strict=True):
            print(name, reader, bytes_a_pixel - found[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is measured by its copies")
def test_memory(tmp_path):
    """In a fresh process, so that what it has freed already does not hide what it needs."""
    write_large_files(tmp_path)
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    script += f"from data.test_limits import measure; measure({str(tmp_path)!r})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == sum(map(len, LARGE.values()))
    assert {(file, reader): bytes_ for file, reader, bytes_ in lines if float(bytes_) > BYTES} == {}


def refusal(content: bytes, folder: Path) -> str:
    """Why a file is refused, which must be told within a moment and a few megabytes; nothing if it is read."""
    (folder / "image").write_bytes(content)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        load_picture(folder / "image")
        found = ""
    except ImageError as error:
        found = str(error)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    return found


def test_the_limit_is_one_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(PIXEL_LIMIT, raising=False)
    assert pixel_limit() == MAX_PIXELS
    kinds = {
        "png": png_bytes(np.zeros((20, 30, 1), np.uint8), 8),
        "deep.png": png_bytes(np.zeros((20, 30, 3), np.uint16), 16),
        "tif": tiff_bytes(np.zeros((20, 30, 1), np.uint8), photometric="minisblack"),
        "deep.tif": tiff_bytes(np.zeros((20, 30, 1), np.uint16), photometric="minisblack", compression="lzw"),
    }
    for name, options in (("jpg", {}), ("webp", {}), ("gif", {}), ("bmp", {}), ("ppm", {}), ("jp2", {})):
        out = io.BytesIO()
        Image.new("RGB", (30, 20)).save(
            out, {"jpg": "JPEG", "jp2": "JPEG2000", "ppm": "PPM"}.get(name, name), **options
        )
        kinds[name] = out.getvalue()
    out = io.BytesIO()
    np.save(out, np.zeros((20, 30), np.uint8))
    kinds["npy"] = out.getvalue()
    said = (
        "30×20 is 600 pixels, above the limit of 599; make it smaller, or raise the limit (--max-pixels, or GCVIT_MAX"
    )
    for name, content in kinds.items():
        (tmp_path / "image").write_bytes(content)
        monkeypatch.setenv(PIXEL_LIMIT, "600")
        assert load_picture(tmp_path / "image").size == (30, 20)
        monkeypatch.setenv(PIXEL_LIMIT, "599")
        for source in (tmp_path / "image", as_member(content, tmp_path)):
            with pytest.raises(ImageError) as error:
                load_picture(source)
            assert f"cannot read image {source}: {said}" in str(error.value), name
        if name in ("png", "tif", "deep.tif", "npy"):
            with pytest.raises(ImageError, match=r"cannot read labels .*above the limit of 599"):
                read_label_values(tmp_path / "image")
        assert load_picture(tmp_path / "image", max_pixels=600).size == (30, 20)
    for wrong in ("", "0", "-1", "many", "1e9", "9" * 5000):
        monkeypatch.setenv(PIXEL_LIMIT, wrong)
        if wrong.isdigit() and wrong != "0":
            assert pixel_limit() > 10**9
        else:
            with pytest.raises(UserError, match="GCVIT_MAX_PIXELS in the environment must be a number of pixels"):
                pixel_limit()


def test_a_higher_limit_than_pillow_s(tmp_path, monkeypatch):
    """Whoever raises ours raises Pillow's, which would refuse in its stead."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("WEBP", "TIFF", "PNG", "GIF"):
        out = io.BytesIO()
        Image.new("RGB", (40, 30)).save(out, name)
        (tmp_path / "image").write_bytes(out.getvalue())
        assert load_picture(tmp_path / "image", max_pixels=1200).size == (40, 30)


def test_files_of_more_bytes_than_pixels_take(tmp_path):
    with (tmp_path / "image").open("wb") as file:
        file.truncate(2 * 10**9)  # takes no place
    for read in (load_picture, read_label_values):
        with pytest.raises(ImageError, match="2,000,000,000 bytes are more than a picture of 89,478,485 pixels needs"):
            read(tmp_path / "image")
    with pytest.raises(ImageError, match="are more than a picture"):
        load_picture(Member(tmp_path / "image", "a.jpg", 512, 6 * 10**9))


def test_scans_of_a_progressive_jpeg(tmp_path):
    out = io.BytesIO()
    Image.new("L", (64, 64), 99).save(out, "JPEG", progressive=True)
    content = out.getvalue()
    scans = jpeg.parts(content).scans
    table = content.rindex(b"\xff\xc4", 0, scans[-1].start)
    again, more = content[table : scans[-1].end], jpeg.MOST_SCANS - len(scans)
    assert not refusal(content[:-2] + again * more + content[-2:], tmp_path)
    assert "more than 64 scans" in refusal(content[:-2] + again * (more + 1) + content[-2:], tmp_path)
    assert "more than 10,000 segments" in refusal(content[:2] + b"\xff\xfe\0\2" * 10_001 + content[2:], tmp_path)


def overlapping_tags(count: int, order: str = "<") -> bytes:
    """A table of tags, each of which claims the whole block."""
    size = 8 + 2 + 12 * count + 4
    table = b"".join(struct.pack(order + "HHII", 1_000 + number, 7, size - 8, 8) for number in range(count))
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, count) + table + bytes(4)


def with_exif(name: str, tags: bytes) -> bytes:
    """A small file with this block of tags."""
    out = io.BytesIO()
    Image.new("RGB", (20, 20)).save(out, name)
    content = out.getvalue()
    if name == "JPEG":
        parts = [tags[at : at + 65_000] for at in range(0, len(tags), 65_000)]
        segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts)
        return content[:2] + segments + content[2:]
    if name == "PNG":
        return content[:33] + chunk(b"eXIf", tags) + content[33:]
    if name == "raw PNG":
        return content
    assert name == "AVIF"
    return content + struct.pack(">I4s", 8 + len(tags), b"free") + tags


@pytest.mark.parametrize("name", ["JPEG", "PNG", *(["AVIF"] if features.check("avif") else [])])
@pytest.mark.parametrize("order", "<>")
def test_tags_that_lie_over_each_other(tmp_path, name, order):
    """60,000 tags of 700 kB each would take 42 GB."""
    assert "its tags claim" in refusal(with_exif(name, overlapping_tags(60_000, order)), tmp_path)
    assert not refusal(with_exif(name, overlapping_tags(3, order)), tmp_path)


def test_tags_in_a_text_and_in_tiff(tmp_path):
    tags = overlapping_tags(30_000)
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n9\n" + tags.hex().encode())
    plain = png_bytes(np.zeros((20, 20, 1), np.uint8), 8)
    assert "its tags claim" in refusal(plain[:33] + chunk(b"zTXt", text) + plain[33:], tmp_path)
    assert "its tags claim" in refusal(tags, tmp_path)
    many = b"".join(b"II*\0" + bytes(8) for _ in range(100_000))
    assert "more than 64 blocks of tags" in refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + many, tmp_path)
    if features.check("avif"):
        out = io.BytesIO()
        Image.new("RGB", (20, 20)).save(out, "AVIF")
        assert "more than 64 blocks of tags" in refusal(out.getvalue() + many, tmp_path)


def test_texts_that_unpack_to_much(tmp_path):
    plain = png_bytes(np.zeros((20, 20, 1), np.uint8), 8)
    bomb = zlib.compress(bytes(1_000_000), 9)
    for name, start in ((b"zTXt", b"Title\0\0"), (b"iCCP", b"Title\0\0"), (b"iTXt", b"Title\0\1\0\0\0")):
        content = plain[:33] + chunk(name, start + bomb) * 1_100 + plain[33:]
        assert "more than 1,000 chunks" in refusal(content, tmp_path)


def test_parts_of_tiff(tmp_path):
    strip = imagecodecs.lzw_encode(bytes(64))
    usual = {256: 8, 257: 8, 258: 8, 259: 5, 262: 1, 277: 1}
    assert not refusal(tiff_by_hand(usual, strip), tmp_path)
    for tags in ({256: 2**31 + 5}, {256: 2**20, 257: 2**20}, {257: 0}, {277: 70_000}, {258: 2**31}):
        assert refusal(tiff_by_hand(usual | tags, strip), tmp_path), tags
    tiled = {322: 60_000, 323: 60_000, 324: 8, 325: len(strip)}
    assert "its parts have 60000×60000 pixels" in refusal(tiff_by_hand(usual | tiled, strip), tmp_path)
    many = {256: 4_000, 257: 4_000, 258: 16, 322: 1, 323: 1, 324: 8, 325: len(strip)}
    assert "of 16,000,000 parts" in refusal(tiff_by_hand(usual | many, strip), tmp_path)
    count = 2**24
    content = tiff_by_hand(usual, strip).replace(struct.pack("<HHI", 273, 4, 1), struct.pack("<HHI", 273, 4, count))
    assert "its tag 273" in refusal(content + bytes(4 * count), tmp_path)


def test_bands_count_too(tmp_path, monkeypatch):
    """Of one size in pixels, many bands take many bytes, and compressed they cost nothing in the file."""
    content = tiff_bytes(np.zeros((100, 100, 40), np.uint8), photometric="minisblack", compression="deflate")
    out = io.BytesIO()
    np.save(out, np.zeros((100, 100, 40), np.uint8))
    for file in (content, out.getvalue()):
        (tmp_path / "image").write_bytes(file)
        monkeypatch.setenv(PIXEL_LIMIT, "140000")  # 40 floats for each of 10,000 pixels
        assert load_picture(tmp_path / "image", PixelFormat(40)).shape == (40, 100, 100)
        monkeypatch.setenv(PIXEL_LIMIT, "130000")
        with pytest.raises(ImageError, match="100×100 pixels of 40 bands take 1,600,000 bytes, more than 12 for"):
            load_picture(tmp_path / "image", PixelFormat(40))


def test_tiles_of_jpeg_2000(tmp_path):
    content = bytearray(imagecodecs.jpeg2k_encode(np.zeros((64, 64), np.uint8), level=0, codecformat="j2k"))
    at = content.index(b"\xff\x51") + 4
    struct.pack_into(">II", content, at + 18, 1, 1)  # the size of a tile
    struct.pack_into(">II", content, at + 2, 9_000, 9_000)  # of the picture
    assert "tiles, more than 16,384" in refusal(bytes(content), tmp_path)


def test_arrays_that_claim_much(tmp_path):
    out = io.BytesIO()
    np.save(out, np.zeros((10, 10), np.uint8))
    for shape in (
        "(99999, 99999)",
        "(9999999999999999999999, 9999999999999999999)",
        "(10, 10, 99999999999)",
        "(-1, 10)",
    ):
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape.encode() + b", }"
        header = header.ljust(118 - 1) + b"\n"
        assert refusal(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(100), tmp_path), shape
    nested = b"(" * 9_000
    assert refusal(b"\x93NUMPY\1\0" + struct.pack("<H", len(nested)) + nested + bytes(100), tmp_path)
    long = b" " * 60_000 + b"\n"
    assert refusal(b"\x93NUMPY\1\0" + struct.pack("<H", len(long)) + long, tmp_path)
