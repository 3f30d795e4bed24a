"""Label files: every value is mapped once and in wide numbers, and what is written comes back."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from gcvit.data.images import ImageError
from gcvit.data.label_maps import (
    IGNORED,
    ColourImageError,
    LabelMapping,
    default_palette,
    label_image,
    load_labels,
    read_label_values,
    write_labels,
)


def grey(path: Path, values: list[list[int]], dtype: type = np.uint8) -> Path:
    Image.fromarray(np.array(values, dtype=dtype)).save(path)
    return path


@settings(max_examples=200)
@given(
    values=st.sampled_from([np.uint8, np.uint16, np.int32]).flatmap(lambda kind: arrays(kind, (3, 4))),
    classes=st.integers(1, 4096),
    ignore_label=st.none() | st.integers(0, 65_535),
    zero=st.booleans(),
)
def test_mapping_is_what_its_words_say(values, classes, ignore_label, zero):
    labels, known = LabelMapping(classes, ignore_label, zero)(values)
    assert (labels.dtype, known.dtype) == (np.int16, bool)
    for value, label, is_known in zip(values.ravel().tolist(), labels.ravel(), known.ravel(), strict=True):
        ignored = value == ignore_label or (zero and value == 0)
        inside = zero <= value < zero + classes and not ignored
        assert label == (value - zero if inside else IGNORED)
        assert is_known == (ignored or inside)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zero_never_wraps_around(tmp_path, dtype):
    """In uint8, 0 - 1 is 255, and 255 - 1 is 254, a class of none."""
    file = grey(tmp_path / "labels.png", [[0, 1, 150, 255]], dtype)
    assert load_labels(file, LabelMapping(150, 255, True)).tolist() == [[IGNORED, 0, 149, IGNORED]]
    assert load_labels(file, LabelMapping(255, None, True)).tolist() == [[IGNORED, 0, 149, 254]]
    assert load_labels(file, LabelMapping(256, None)).tolist() == [[0, 1, 150, 255]]


def test_16_bits(tmp_path):
    file = grey(tmp_path / "labels.png", [[0, 255, 256, 999, 65_535]], np.uint16)
    assert load_labels(file, LabelMapping(1000, 65_535)).tolist() == [[0, 255, 256, 999, IGNORED]]
    assert load_labels(file, LabelMapping(999, 65_535, True)).tolist() == [[IGNORED, 254, 255, 998, IGNORED]]
    tiff = grey(tmp_path / "labels.tif", [[0, 256, 4095]], np.uint16)
    assert load_labels(tiff, LabelMapping(4096, None)).tolist() == [[0, 256, 4095]]


def test_palettes_give_indices_and_not_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2, 1]], dtype=np.uint8))
    image.putpalette([200, 200, 200, 7, 7, 7, 0, 0, 0])
    for bits in (2, 4, 8):
        image.save(tmp_path / "labels.png", bits=bits)
        assert read_label_values(tmp_path / "labels.png").tolist() == [[0, 1, 2, 1]]
    image.save(tmp_path / "clear.png", transparency=0)
    assert read_label_values(tmp_path / "clear.png").tolist() == [[0, 1, 2, 1]]


@pytest.mark.parametrize(("bits", "values"), [(1, [0, 1, 1, 0]), (2, [0, 1, 2, 3]), (4, [0, 1, 9, 15])])
def test_greys_of_few_bits_are_not_spread_over_255(tmp_path, bits, values):
    """Packed by hand: Pillow writes greys of 1 and 8 bits only."""
    packed = 0
    for value in values:
        packed = packed << bits | value
    row = (packed << -4 * bits % 8).to_bytes((4 * bits + 7) // 8, "big")
    (tmp_path / "labels.png").write_bytes(png(4, bits, row))
    assert read_label_values(tmp_path / "labels.png").tolist() == [values]


def png(width: int, bits: int, row: bytes) -> bytes:
    """A grey PNG of one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )


@settings(max_examples=60)
@given(classes=st.sampled_from([1, 2, 3, 15, 16, 17, 254, 255, 256, 257, 1000]), data=st.data())
def test_what_is_written_comes_back(tmp_path_factory, classes, data):
    labels = data.draw(arrays(np.int16, (3, 5), elements=st.integers(IGNORED, classes - 1)))
    labels[0, :2] = IGNORED, classes - 1
    file = tmp_path_factory.mktemp("labels") / "labels.png"
    palette = default_palette(classes)
    write_labels(file, labels, palette)
    assert (load_labels(file, LabelMapping(classes, 255 if classes <= 255 else 65_535)) == labels).all()
    with Image.open(file) as image:
        assert image.mode == ("P" if classes <= 255 else "I;16")
        if classes <= 255:
            shown = np.asarray(image.convert("RGB"))
            for pixel, label in zip(shown.reshape(-1, 3).tolist(), labels.ravel().tolist(), strict=True):
                assert tuple(pixel) == ((255, 255, 255) if label == IGNORED else palette[label])


def test_labels_that_no_file_can_hold():
    for wrong in (-2, 3):
        with pytest.raises(ValueError, match=r"labels must be in -1…2, got"):
            label_image(np.array([[0, wrong]], dtype=np.int16), default_palette(3))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_a_picture_in_colours_is_refused_with_advice(tmp_path, mode):
    file = tmp_path / ("labels.png" if mode in ("RGB", "RGBA", "LA") else "labels.tif")
    Image.new(mode, (4, 4)).save(file)
    with pytest.raises(ColourImageError, match=r"cannot read labels .*write the number of each colour's class as an"):
        load_labels(file, LabelMapping(3))


def test_unknown_values_are_named(tmp_path):
    file = grey(tmp_path / "labels.png", [[0, 1, 7, 7], [9, 255, 2, 0]])
    with pytest.raises(ImageError) as error:
        load_labels(file, LabelMapping(3))
    assert f"cannot read labels {file}: unknown values 7 (2 px), 9 (1 px); known are 0 to 2" in str(error.value)
    assert "255 ignored" in str(error.value)
    with pytest.raises(ImageError, match=r"known are 1 to 3 for the classes, 0 ignored"):
        load_labels(file, LabelMapping(3, None, True))
    many = grey(tmp_path / "many.png", [list(range(10, 20))])
    with pytest.raises(ImageError, match=r"14 \(1 px\) and 5 more; known"):
        load_labels(many, LabelMapping(3))


def test_files_that_cannot_be_read(tmp_path):
    whole = grey(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 200, (40, 40)).tolist())
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    (tmp_path / "start.png").write_bytes(whole.read_bytes()[8:])
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name, reason in (
        ("cut", "truncated"),
        ("start", "not an image, or damaged at its start"),
        ("empty", "the file is empty"),
        ("folder", "it is a folder"),
        ("none", "no such file"),
    ):
        with pytest.raises(ImageError, match=rf"^cannot read labels .*{name}.png: .*{reason}"):
            read_label_values(tmp_path / f"{name}.png")


@pytest.mark.parametrize("classes", [0, 32_768])
def test_a_number_of_classes_that_cannot_be(classes):
    with pytest.raises(ValueError, match=r"there must be 1 to 4,096 classes"):
        LabelMapping(classes)


def test_palette():
    colours = default_palette(300)
    assert len(set(colours)) == 300
    assert default_palette(20) == colours[:20]
    assert all(0 <= value <= 255 for colour in colours for value in colour)
    assert len(default_palette(5000)) == 5000
    first = np.array(default_palette(20), dtype=float)
    apart = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1e9 * np.eye(20)
    assert apart.min() > 70  # of 441 from black to white


def test_floats_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "labels.tif")
    with pytest.raises(ImageError, match="it holds floats, not class numbers"):
        load_labels(tmp_path / "labels.tif", LabelMapping(2))
