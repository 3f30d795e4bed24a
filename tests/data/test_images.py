"""load_picture: each kind of file gives its right RGB values, each damaged one an ImageError that names it."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from gcvit.data.images import ImageError, find_images, list_images, load_picture, picture_in_memory

NOISE = np.random.default_rng(0)
PHOTO = Image.fromarray(NOISE.integers(0, 256, (11, 17, 3), dtype=np.uint8)).resize((68, 44))
DEEP = NOISE.integers(0, 2**16, (9, 13), dtype=np.uint16)


def saved(folder: Path, image: Image.Image, name: str, **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def pixels(path: Path, **options: object) -> np.ndarray:
    image = load_picture(path, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(values).astype(int)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tif", "A.TIFF", "a.webp"])
def test_rgb_comes_back_as_it_was(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    assert (pixels(saved(tmp_path, PHOTO, name, **options)) == np.asarray(PHOTO)).all()


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif", "a.bmp"])
def test_palette_one_bit_and_grey(tmp_path, name):
    for mode in ("P", "L", "1"):
        image = PHOTO.convert(mode, palette=Image.Palette.ADAPTIVE) if mode == "P" else PHOTO.convert(mode)
        expected = np.asarray(image.convert("RGB"))
        assert (pixels(saved(tmp_path, image, name)) == expected).all()


def test_transparency_is_composited_on_the_background(tmp_path):
    alpha = np.array([[0, 51, 255]], dtype=np.uint8)
    rgba = np.dstack([np.full((1, 3), 200), np.full((1, 3), 100), np.zeros((1, 3)), alpha]).astype(np.uint8)
    path = saved(tmp_path, Image.fromarray(rgba), "rgba.png")
    assert (pixels(path)[0] == [[255, 255, 255], [244, 224, 204], [200, 100, 0]]).all()
    assert (pixels(path, background=(0, 0, 255))[0] == [[0, 0, 255], [40, 20, 204], [200, 100, 0]]).all()
    luminance = np.dstack([np.full((1, 3), 100, dtype=np.uint8), alpha])
    path = saved(tmp_path, Image.fromarray(luminance, "LA"), "la.png")
    assert (pixels(path)[0, :, 0] == [255, 224, 100]).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_becomes_the_background(tmp_path, mode):
    image = Image.new("RGB", (2, 1), (255, 255, 255)).convert(mode)
    image.putpixel((0, 0), (0, 0, 0) if mode == "RGB" else 0)
    path = saved(tmp_path, image, "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert (pixels(path, background=(9, 8, 7))[0, 0] == [9, 8, 7]).all()
    assert (pixels(path, background=(9, 8, 7))[0, 1] == np.asarray(image.convert("RGB"))[0, 1]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_not_cut_off(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(DEEP), name)
    assert (pixels(path) == grey(np.rint(DEEP / 257))).all()
    assert len(np.unique(pixels(path))) > 80  # cut off at 255, nearly all would be white


def test_sixteen_bit_tiff_of_either_byte_order_and_polarity(tmp_path):
    path = saved(tmp_path, Image.fromarray(DEEP.astype(">u2")), "big.tif")
    assert (pixels(path) == grey(np.rint(DEEP / 257))).all()
    path = saved(tmp_path, Image.fromarray(DEEP), "inverse.tif", tiffinfo={262: 0})
    assert (pixels(path) == grey(255 - np.rint(DEEP / 257))).all()


def test_sixteen_bit_transparency(tmp_path):
    path = saved(tmp_path, Image.fromarray(DEEP), "a.png", transparency=int(DEEP[2, 3]))
    found = pixels(path, background=(1, 2, 3))
    assert (found[2, 3] == [1, 2, 3]).all()
    assert (found[0, 0] == round(DEEP[0, 0] / 257)).all()


def test_numbers_without_agreed_black_and_white_are_refused(tmp_path):
    floats = saved(tmp_path, Image.fromarray(NOISE.random((4, 5), dtype=np.float32)), "float.tif")
    with pytest.raises(ImageError, match=r"float\.tif: it holds floats"):
        load_picture(floats)
    signed = saved(tmp_path, Image.fromarray(np.arange(20, dtype=np.int32).reshape(4, 5)), "signed.tif")
    with pytest.raises(ImageError, match=r"signed\.tif: it holds signed integers"):
        load_picture(signed)


def test_unsigned_32_bit_tiff(tmp_path):
    values = np.array([[0, 2**31, 2**32 - 1]], dtype=np.uint32)
    image = Image.fromarray(values.view(np.int32))
    path = saved(tmp_path, image, "a.tif")
    signed, unsigned = (bytes([0x53, 0x01, 3, 0, 1, 0, 0, 0, kind, 0]) for kind in (2, 1))  # tag 339
    assert signed in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(signed, unsigned))
    assert pixels(path)[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_and_ycbcr(tmp_path):
    plain = np.asarray(PHOTO).astype(int)
    for name, mode in (("cmyk.tif", "CMYK"), ("ycbcr.tif", "YCbCr"), ("cmyk.jpg", "CMYK")):
        found = pixels(saved(tmp_path, PHOTO.convert(mode), name, **({"quality": 95} if "jpg" in name else {})))
        assert np.abs(found - plain).mean() < 3, name


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, name, orientation):
    # The stored pixels of a picture that is red at its upright top left, green at the top right.
    upright = Image.new("RGB", (96, 64), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 32, 32))
    upright.paste((0, 255, 0), (64, 0, 96, 32))
    turn = Image.Transpose
    undo = [None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE]
    undo += [turn.ROTATE_90, turn.TRANSVERSE, turn.ROTATE_270]
    how = undo[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, upright if how is None else upright.transpose(how), name, exif=exif)
    found = pixels(path)
    assert found.shape == (64, 96, 3)
    assert np.abs(found - np.asarray(upright)).mean() < 4


def test_first_frame(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert (pixels(path) == [255, 0, 0]).all(), name


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("mode", ["RGB", "I;16", "LA", "P"])
def test_tiny_and_very_long(tmp_path, size, mode):
    assert load_picture(saved(tmp_path, Image.new(mode, size), "a.png")).size == size


def test_the_pixel_cap_is_checked_before_decoding(tmp_path):
    path = saved(tmp_path, Image.new("L", (300, 200)), "large.png")
    assert load_picture(path, max_pixels=60_000).size == (300, 200)
    with pytest.raises(ImageError, match=r"large\.png: 300×200 is 60,000 pixels, above the limit of 59,999"):
        load_picture(path, max_pixels=59_999)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ImageError, match="above the limit"):
        load_picture(path, max_pixels=100)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 14_000])
def test_a_bomb_is_an_error(tmp_path, side):
    """Between Pillow's warning and its error, and above both."""
    path = tmp_path / "bomb.pgm"
    path.write_bytes(b"P5 %d %d 255\n" % (side, side))
    with pytest.raises(ImageError, match=r"bomb\.pgm"):
        load_picture(path)


def test_what_is_not_an_image(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in {
        "text.jpg": "not an image",
        "empty.png": "the file is empty",
        "missing.png": "no such file",
        ".": "a folder",
        "program.eps": "not an image",  # Pillow alone would run Ghostscript
        "pipe.png": "not a regular file",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            load_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def refusal(path: Path) -> str:
    """The message of the ImageError, or nothing; any other error gets through."""
    try:
        load_picture(path)
    except ImageError as error:
        return str(error)
    return ""


FILES = {
    "a.png": (PHOTO, {}),
    "p.png": (PHOTO.convert("P"), {"transparency": 3}),
    "deep.png": (Image.fromarray(DEEP), {}),
    "a.jpg": (PHOTO, {}),
    "progressive.jpg": (PHOTO, {"progressive": True}),
    "raw.tif": (PHOTO, {}),
    "lzw.tif": (PHOTO, {"compression": "tiff_lzw"}),
    "deflate.tif": (PHOTO, {"compression": "tiff_deflate"}),
    "a.webp": (PHOTO, {}),
    "lossless.webp": (PHOTO.convert("RGBA"), {"lossless": True}),
    "a.gif": (PHOTO.convert("P"), {}),
    "a.bmp": (PHOTO, {}),
    "a.ppm": (PHOTO, {}),
    "a.jp2": (PHOTO, {}),
    **({"a.avif": (PHOTO, {})} if features.check("avif") else {}),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
    image, options = FILES[name]
    path = saved(tmp_path, image, name, **options)
    whole = path.read_bytes()
    for percent in range(1, 100, 4):
        path.write_bytes(whole[: max(1, len(whole) * percent // 100)])
        error = refusal(path)
        assert error or percent >= 95  # at the very end no more than an end mark may be missing
        assert str(path) in error or not error


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes_raise_nothing_else(tmp_path, name):
    image, options = FILES[name]
    path = saved(tmp_path, image, name, **options)
    whole = path.read_bytes()
    chance = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 3, 10))):
            damaged[chance.randrange(min(len(whole), chance.choice((64, 10**6))))] = chance.randrange(256)
        path.write_bytes(damaged)
        error = refusal(path)
        assert str(path) in error or not error


@settings(max_examples=40)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0"]))
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_any_bytes(tmp_path_factory, data, start):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(start + data)
    with pytest.raises(ImageError, match="any: "):
        load_picture(path)


def test_a_worker_s_traceback_is_not_the_message():
    wrapped = "Caught ImageError in DataLoader worker process 0.\nOriginal Traceback:\n  …\n"
    wrapped += "gcvit.data.images.ImageError: cannot read image a.png: the file is empty\n"
    assert str(ImageError(wrapped)) == "cannot read image a.png: the file is empty"


def test_list_images(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.webp", "b/.hidden.png", ".trash/x.png", "b/notes.txt", "ü x/3.Tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert names == ["a.webp", "b/1.png", "b/2.JPG", "ü x/3.Tiff"]
    assert list_images(tmp_path / "b/notes.txt") == [tmp_path / "b/notes.txt"]
    (tmp_path / "none").mkdir()
    assert find_images(tmp_path / "none") == []
    with pytest.raises(ValueError, match="no images in this folder"):
        list_images(tmp_path / "none")
    with pytest.raises(ValueError, match="no such file or folder"):
        list_images(tmp_path / "nowhere")


def turned(folder: Path) -> Path:
    """A photograph that is to be turned by a quarter before it is looked at."""
    exif = Image.Exif()
    exif[274] = 6
    return saved(folder, PHOTO, "turned.jpg", exif=exif)


IN_MEMORY = {
    "rgb": lambda folder: saved(folder, PHOTO, "a.png"),
    "grey": lambda folder: saved(folder, PHOTO.convert("L"), "a.png"),
    "palette": lambda folder: saved(folder, PHOTO.convert("P"), "a.gif"),
    "transparent": lambda folder: saved(folder, PHOTO.convert("RGBA").rotate(30, expand=True), "a.png"),
    "16 bits": lambda folder: saved(folder, Image.fromarray(DEEP), "a.png"),
    "CMYK": lambda folder: saved(folder, PHOTO.convert("CMYK"), "a.jpg"),
    "turned": turned,
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_a_picture_in_memory_is_read_as_its_file(tmp_path, kind):
    path = IN_MEMORY[kind](tmp_path)
    with Image.open(path) as picture:
        found = picture_in_memory(picture)
    expected = load_picture(path)
    assert (found.mode, found.size) == ("RGB", expected.size)
    assert (np.asarray(found) == np.asarray(expected)).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_and_tensors_are_the_pictures_that_they_hold(channels):
    array = NOISE.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    expected = np.asarray(picture_in_memory(Image.fromarray(array if channels > 1 else array[:, :, 0])))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for same in (array, np.asfortranarray(array), tensor, tensor.contiguous(), tensor / 255, tensor.double() / 255):
        assert (np.asarray(picture_in_memory(same)) == expected).all()
    if channels == 1:
        assert (np.asarray(picture_in_memory(array[:, :, 0])) == expected).all()
    flipped = np.asarray(picture_in_memory(array[::-1]))
    assert (flipped == expected[::-1]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 4, 3)), "must be uint8 .*, not float64"),
        (np.zeros((4, 4, 3), bool), "must be uint8 .*, not bool"),
        (np.zeros((4, 4, 2), np.uint8), r"must be uint8 \(height, width.*\(4, 4, 2\)"),
        (np.zeros((3, 4, 5, 3), np.uint8), r"of \(3, 4, 5, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (torch.zeros(3, 0, 4), "no pixels"),
        (torch.zeros(2, 3, 4, 4), r"\(channels, height, width\), not \(2, 3, 4, 4\)"),
        (torch.zeros(5, 4, 3), r"\(channels, height, width\), not \(5, 4, 3\)"),
        (torch.full((3, 4, 4), 1.1), "values from 0 to 1, before any normalisation"),
        (torch.full((3, 4, 4), float("nan")), "values from 0 to 1"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "must be uint8 .*, not int64"),
        (Image.new("RGB", (0, 4)), "0×4 pixels has none"),
        (Image.new("F", (4, 4)), "cannot read image in memory: it holds floats"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(wrong, message):
    with pytest.raises(ValueError, match=message):
        picture_in_memory(wrong)


def test_a_damaged_picture_that_is_decoded_only_now_is_an_image_error(tmp_path):
    path = saved(tmp_path, PHOTO.resize((300, 200)), "a.jpg")
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as picture, pytest.raises(ImageError, match=r"cannot read image in memory: .*truncated"):
        picture_in_memory(picture)
