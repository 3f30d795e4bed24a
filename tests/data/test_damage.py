"""What is missing is found, what is whole is read, and training, evaluation and doctor agree on which is which."""

import io
import re
import struct
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.writing import chunk, png_bytes, tiff_bytes
from gcvit.data.classify_doctor import examine
from gcvit.data.doctor import look_at
from gcvit.data.formats.decoding import lacks_end
from gcvit.data.images import ImageError, load_picture
from gcvit.data.label_maps import read_label_values
from gcvit.data.labelled import LabelledImages

NOISE = np.random.default_rng(0)
PHOTO = Image.fromarray(NOISE.integers(0, 256, (23, 31, 3), dtype=np.uint8)).resize(
    (203, 147), Image.Resampling.BICUBIC
)
END = b"\xff\xd9"


def jpeg(image: Image.Image = PHOTO, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def read(content: bytes, folder: Path) -> np.ndarray:
    (folder / "image").write_bytes(content)
    return np.asarray(load_picture(folder / "image"))


def refusal(content: bytes, folder: Path) -> str:
    """Why a file is refused, by training and evaluation, which load it, and by the doctor; nothing if it is read."""
    (folder / "image").write_bytes(content)
    seen = look_at(folder / "image")
    try:
        LabelledImages(folder, ["some"], [(folder / "image", 0)])[0]
    except ImageError as error:
        found = str(error)
    else:
        found = ""
    assert found == (f"cannot read image {folder / 'image'}: {seen.reason}" if seen.reason else "")
    return seen.reason


def picture_s_start(content: bytes) -> int:
    """Where the first scan's data begin."""
    at = content.index(b"\xff\xda")
    return at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")


KINDS = [
    {"progressive": progressive, "quality": quality, **more}
    for progressive, quality in product((False, True), (30, 92))
    for more in ({}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 5})
]


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_which_a_part_is_missing(tmp_path, options, mode):
    whole = jpeg(PHOTO.convert(mode), **options)
    assert not refusal(whole, tmp_path)
    start = picture_s_start(whole)
    for share in (0.02, 0.2, 0.5, 0.8, 0.97):
        at = start + int(share * (len(whole) - start))
        zeros = bytes(len(whole) - at)
        for damaged in (whole[:at], whole[:at] + END, whole[:at] + zeros, whole[:at] + zeros[:-2] + END):
            assert re.search("truncated|damaged", refusal(damaged, tmp_path)), (share, len(damaged))


@settings(max_examples=60)
@example(share=0.9375, options={"progressive": True, "quality": 30}, fill=b"\x55")  # by chance
@given(share=st.floats(0, 0.99), options=st.sampled_from(KINDS), fill=st.sampled_from([b"", b"\0", b"\x55", b"\xff"]))
def test_jpeg_cut_anywhere_and_ended(tmp_path_factory, share, options, fill):
    whole = jpeg(**options)
    start = picture_s_start(whole)
    at = start + int(share * (len(whole) - 40 - start))
    # What was filled in may end all blocks by chance just where the data end; never in files of two lengths.
    lengths = (len(whole) - at, len(whole) - at + 40)
    assert any(refusal(whole[:at] + fill * length + END, tmp_path_factory.getbasetemp()) for length in lengths)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_whole_jpeg_is_whole_whatever_follows_it(tmp_path, options):
    """Without its end mark or a part of it; with filling before it, and anything behind it."""
    for image in (PHOTO, PHOTO.convert("L"), PHOTO.crop((0, 0, 9, 5)), PHOTO.resize((16, 16)), PHOTO.resize((1, 1))):
        whole = jpeg(image, **options)
        expected = read(whole, tmp_path)
        assert not lacks_end(whole)
        for same in (whole[:-2] + bytes(3) + END, whole[:-2] + bytes(5000) + END, whole[:-2] + b"\xff" * 9 + END):
            assert (read(same, tmp_path) == expected).all()
        for same in (whole[:-1], whole[:-2], whole + b"more", whole + whole):
            assert (read(same, tmp_path) == expected).all()
            assert lacks_end(same) == (len(same) < len(whole))


def test_flat_pictures_whose_data_are_zeros(tmp_path):
    """With tables of their own, their codes are zeros: long rows of zero bytes are no damage there."""
    for colour, size in product((0, 90, 255), ((300, 200), (1000, 1000), (64, 2000))):
        whole = jpeg(Image.new("L", size, colour), optimize=True)
        assert (read(whole, tmp_path) == read(whole[:-2], tmp_path)).all()
        longest = max(re.findall(rb"\0+", whole[picture_s_start(whole) :]), key=len)
        assert len(longest) > 50
        assert refusal(whole[: -len(longest) // 2] + END, tmp_path)


def test_jpeg_whose_last_scans_are_missing(tmp_path):
    whole = jpeg(progressive=True)
    starts = [found.start() for found in re.finditer(b"\xff[\xc4\xda]", whole)]
    for at in starts[5:]:
        if whole[at + 1] == 0xC4:  # a table, which comes before its scan
            assert refusal(whole[:at] + END, tmp_path)


def test_jpeg_whose_middle_is_missing_between_restart_markers(tmp_path):
    whole = jpeg(restart_marker_rows=1)
    marks = [found.start() for found in re.finditer(b"\xff[\xd0-\xd7]", whole)]
    assert "of 9 restart markers" in refusal(
        whole[: marks[3] + 9] + bytes(marks[6] - marks[3]) + whole[marks[6] + 9 :], tmp_path
    )
    assert "of 9 restart markers" in refusal(whole[: marks[3]] + whole[marks[5] :], tmp_path)


def test_a_jpeg_with_another_one_behind_it_shows_the_first(tmp_path):
    """As cameras write them, in one file with their index."""
    out = io.BytesIO()
    PHOTO.save(out, "MPO", save_all=True, append_images=[PHOTO.convert("L").convert("RGB")])
    with Image.open(io.BytesIO(out.getvalue())) as image:
        assert image.n_frames == 2
        assert (read(out.getvalue(), tmp_path) == np.asarray(image.convert("RGB"))).all()


def chunks(content: bytes) -> list[tuple[int, bytes]]:
    """Where each chunk of a PNG file begins, and its name."""
    found, at = [], 8
    while at < len(content):
        found.append((at, content[at + 4 : at + 8]))
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return found


@pytest.fixture(scope="module")
def png() -> bytes:
    content = png_bytes(np.asarray(PHOTO)[:40, :60], 8, gamma=2.2)
    at = next(at for at, name in chunks(content) if name == b"IDAT")
    return content[:at] + chunk(b"tEXt", b"Title\0some") + content[at:]


def test_png_with_a_wrong_checksum_anywhere(tmp_path, png):
    assert not refusal(png, tmp_path)
    for at, name in chunks(png)[:-1]:
        length = int.from_bytes(png[at : at + 4], "big")
        for place in {at + 8 + length, at + 11 + length, *([at + 8, at + 8 + length // 2] if length else [])}:
            damaged = png[:place] + bytes([png[place] ^ 1]) + png[place + 1 :]
            assert re.search("checksum|damaged|truncated|limit", refusal(damaged, tmp_path)), (name, place)
            (tmp_path / "image").write_bytes(damaged)
            with pytest.raises(ImageError):
                read_label_values(tmp_path / "image")


def test_png_cut_anywhere(tmp_path, png):
    end = chunks(png)[-1][0]
    for at in range(60, end, 67):
        assert refusal(png[:at], tmp_path)
        assert refusal(png[:at] + chunk(b"IEND", b""), tmp_path)
    for at in range(end, len(png)):
        assert (read(png[:at], tmp_path) == np.asarray(PHOTO)[:40, :60]).all()
        assert lacks_end(png[:at])
    assert not lacks_end(png)


def test_png_of_which_a_chunk_of_the_picture_is_missing(tmp_path, png):
    at = next(at for at, name in chunks(png) if name == b"IDAT")
    length = int.from_bytes(png[at : at + 4], "big")
    data, parts = png[at + 8 : at + 8 + length], []
    for start in range(0, len(data), 1000):
        parts.append(chunk(b"IDAT", data[start : start + 1000]))
    for missing in (0, len(parts) // 2, len(parts) - 1):
        rest = b"".join(part for number, part in enumerate(parts) if number != missing)
        assert refusal(png[:at] + rest + chunk(b"IEND", b""), tmp_path)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_tiff_cut_anywhere(tmp_path, compression, dtype):
    values = (np.asarray(PHOTO)[:128, :192, :1] * 3).astype(dtype)  # whole tiles: what fills them up is no picture
    for tile in (None, (64, 64)):
        whole = tiff_bytes(values, photometric="minisblack", compression=compression, tile=tile)
        for share in (0.3, 0.6, 0.9, 0.999):
            assert refusal(whole[: int(share * len(whole))], tmp_path), (tile, share)


def test_arrays_that_are_not_as_long_as_they_say(tmp_path):
    out = io.BytesIO()
    np.save(out, np.zeros((50, 60, 3), np.uint8))
    assert not refusal(out.getvalue(), tmp_path)
    assert "truncated" in refusal(out.getvalue()[:-1], tmp_path)
    assert "followed by something else" in refusal(out.getvalue() + b"\0", tmp_path)
    assert "truncated" in refusal(out.getvalue().replace(b"(50, 60, 3)", b"(99, 99, 9)"), tmp_path)


def test_arrays_of_anything_but_numbers(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "written", "by a pickle"))

    for array in (
        np.array([[Evil()]], object),
        np.zeros((4, 4), "U3"),
        np.zeros((4, 4), [("a", "u1")]),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), "M8[s]"),
        np.zeros(4),
        np.zeros((1, 2, 3, 4)),
        np.zeros((0, 4)),
    ):
        out = io.BytesIO()
        np.save(out, array, allow_pickle=True)
        assert "an array of" in refusal(out.getvalue(), tmp_path), array.dtype
        with pytest.raises(ImageError):
            read_label_values(tmp_path / "image")
    assert not (tmp_path / "written").exists()


def test_the_doctor_finds_them_all(tmp_path, png):
    whole = jpeg()
    zeros = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    files = {
        "cat/zeros.jpg": zeros,
        "cat/ended.jpg": whole[: len(whole) // 2] + END,
        "cat/checksum.png": png[:200] + bytes([png[200] ^ 1]) + png[201:],
        "dog/no_end.jpg": whole[:-2],
        "dog/no_end.png": png[:-12],
        "dog/whole.jpg": jpeg(PHOTO.rotate(180)),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    health = examine(tmp_path)
    unreadable = [Path(finding.files[0]).name for finding in health.faults if finding.kind == "unreadable"]
    assert unreadable == ["checksum.png", "ended.jpg", "zeros.jpg"]
    ends = [Path(finding.files[0]).name for finding in health.notes if finding.kind == "file without its end mark"]
    assert ends == ["no_end.jpg", "no_end.png"]


def test_a_bad_table_of_tags_does_not_hide_a_picture(tmp_path):
    """Only what says how it lies is needed, and Pillow is not asked."""
    whole = jpeg()
    expected = read(whole, tmp_path)
    for exif in (
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" + b"x" * 50,
    ):
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        assert (read(whole[:2] + segment + whole[2:], tmp_path) == expected).all()
