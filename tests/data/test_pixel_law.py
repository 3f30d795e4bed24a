"""The law of reading: what comes out is what was written, or an ImageError; from folders and archives alike."""

import io
import sys
from itertools import product

import cv2
import imagecodecs
import numpy as np
import png
import pytest
from PIL import Image, features

from data.pixel_law import HEIGHT, NOISE, WIDTH, is_right, labels, noise, pixels
from data.writing import as_rgb, bmp_bytes, chunk, packed, png_bytes, turned
from gcvit.data.images import ImageError, load_picture
from gcvit.data.label_maps import ColourImageError
from gcvit.data.settings import PixelFormat


def png_seen(content: bytes) -> np.ndarray:
    """What pypng says of a file's pixels, on white."""
    width, height, rows, said = png.Reader(bytes=content).read()
    values = np.array([list(row) for row in rows]).reshape(height, width, -1)
    if "palette" in said:
        table = np.array([(*colour, 255)[:4] for colour in said["palette"]])
        return as_rgb(table[values[..., 0]], 8, "straight")
    return as_rgb(values, said["bitdepth"], "straight" if said["alpha"] else "", said.get("transparent"))


PNG_KINDS = [("grey", bits) for bits in (1, 2, 4, 8, 16)] + [
    ("rgb", 8),
    ("rgb", 16),
    ("grey alpha", 8),
    ("grey alpha", 16),
]


PNG_KINDS += [("rgb alpha", 8), ("rgb alpha", 16), *(("palette", bits) for bits in (1, 2, 4, 8))]


@pytest.mark.parametrize(("kind", "bits"), PNG_KINDS)
@pytest.mark.parametrize("interlace", [False, True])
def test_png_of_every_kind(tmp_path, kind, bits, interlace):
    """The cases of the public test suite: kinds, interlacing, transparency, backgrounds, gamma, odd sizes, chunks."""
    bands = {"grey": 1, "rgb": 3, "grey alpha": 2, "rgb alpha": 4, "palette": 1}[kind]
    values, alpha = noise(bits, bands), "alpha" in kind
    colour = tuple(int(value) for value in values[3, 5])
    variants: list[dict] = [{}, {"gamma": 2.2}]
    if kind == "palette":
        table = [tuple(colour) for colour in NOISE.integers(0, 256, (2**bits, 3)).tolist()]
        holes = [(*colour, 0 if number == 1 else 255) for number, colour in enumerate(table)]
        faded = [(*colour, number * 255 // 2**bits) for number, colour in enumerate(table)]
        variants = [{"palette": table}, {"palette": holes}, {"palette": faded}]
    elif not alpha:
        variants += [{"transparent": colour if bands == 3 else colour[0], "background": (1, 1, 1) if bands == 3 else 1}]
    for options in variants:
        for height, width in ((HEIGHT, WIDTH), (1, 1), (1, WIDTH), (3, 2), (7, 9)):
            part = values[:height, :width]
            content = png_bytes(part, bits, alpha=alpha, interlace=interlace, **options)
            expected = png_seen(content)
            assert is_right(pixels(content, tmp_path), expected, 1.5 if bits <= 8 else 0.501), (options, height, width)
            if bands == 1:
                assert (labels(content, tmp_path) == part[..., 0]).all()
            else:
                with pytest.raises(ColourImageError):
                    labels(content, tmp_path)


def test_png_in_many_chunks_with_others_between_and_behind(tmp_path):
    """Data in chunks of 1 byte and none; texts, profiles and unknown chunks; a picture behind the end."""
    values = noise(8, 3)
    content = png_bytes(values, 8)
    at = content.index(b"IDAT")
    length = int.from_bytes(content[at - 4 : at], "big")
    data = content[at + 4 : at + 4 + length]
    start, others = content[: at - 4], chunk(b"tEXt", b"Title\0x") + chunk(b"zzZz", b"?") + chunk(b"bKGD", bytes(6))
    for pieces in ([data], [data[:1], b"", data[1:]], [data[i : i + 1] for i in range(len(data))]):
        whole = start + others + b"".join(chunk(b"IDAT", piece) for piece in pieces) + others + chunk(b"IEND", b"")
        assert (pixels(whole + content, tmp_path) == values).all()


def test_png_of_a_kind_that_does_not_exist(tmp_path):
    for kind, bits in ((1, 8), (0, 0), (0, 3), (2, 4), (3, 16), (7, 8)):
        header = chunk(b"IHDR", (4).to_bytes(4, "big") * 2 + bytes([bits, kind, 0, 0, 0]))
        content = (
            b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", imagecodecs.zlib_encode(bytes(100))) + chunk(b"IEND", b"")
        )
        with pytest.raises(ImageError):
            pixels(content, tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_every_format_that_has_it(tmp_path, orientation):
    stored = noise(8, 3)
    exif = Image.Exif()
    exif[274] = orientation
    for name, options in (
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ):
        out = io.BytesIO()
        Image.fromarray(stored).save(out, name, exif=exif, **options)
        assert (pixels(out.getvalue(), tmp_path) == turned(stored, orientation)).all(), name
    for image, name in ((Image.fromarray(stored[..., 0]), "PNG"), (Image.fromarray(stored[..., 0]), "TIFF")):
        out = io.BytesIO()
        image.save(out, name, exif=exif)
        assert (labels(out.getvalue(), tmp_path) == turned(stored[..., 0], orientation)).all(), name
    smooth = np.asarray(Image.fromarray(stored).resize((96, 64)))
    for name in ("JPEG", *(["AVIF"] if features.check("avif") else [])):
        out = io.BytesIO()
        Image.fromarray(smooth).save(out, name, exif=exif, quality=95, subsampling="4:4:4")
        assert np.abs(pixels(out.getvalue(), tmp_path) - turned(smooth, orientation)).mean() < 3, name


def test_orientation_in_texts(tmp_path):
    """As XMP, and as ImageMagick's text in PNG files."""
    stored = noise(8, 3)
    exif = Image.Exif()
    exif[274] = 6
    lines = f"\nexif\n{len(exif.tobytes())}\n" + exif.tobytes().hex()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    content = png_bytes(stored, 8)
    for text in (
        chunk(b"tEXt", b"Raw profile type exif\0" + lines.encode()),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    ):
        assert (pixels(content[:33] + text + content[33:], tmp_path) == turned(stored, 6)).all()


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("kind", ["colours", "greys", "black and white", "white and black"])
@pytest.mark.parametrize("down", [False, True])
def test_bmp_palettes(tmp_path, bits, kind, down):
    count = 2 if kind.endswith(("black", "white")) else 2**bits
    table = {
        "colours": NOISE.integers(0, 256, (count, 3)),
        "greys": np.repeat(np.arange(count)[:, None], 3, axis=1),
        "black and white": np.array([[0] * 3, [255] * 3]),
        "white and black": np.array([[255] * 3, [0] * 3]),
    }[kind]
    values = NOISE.integers(0, count, (HEIGHT, WIDTH))
    palette = np.pad(table[:, ::-1], ((0, 0), (0, 1))).astype(np.uint8).tobytes()
    content = bmp_bytes(
        packed(values if down else values[::-1], bits), WIDTH, -HEIGHT if down else HEIGHT, bits, palette=palette
    )
    assert (pixels(content, tmp_path) == table[values]).all()
    assert (labels(content, tmp_path) == values).all()
    assert (cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] == table[values]).all() or down


def test_bmp_of_colours_and_transparency(tmp_path):
    values = noise(8, 4)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for alpha, expected in ((values[..., 3:], as_rgb(values, 8, "straight")), (0 * values[..., 3:], values[..., :3])):
        stored = np.concatenate([values[..., 2::-1], alpha], axis=2)
        assert is_right(
            pixels(bmp_bytes(stored[::-1].tobytes(), WIDTH, HEIGHT, 32, masks=masks), tmp_path), expected, 1.5
        )
        assert (pixels(bmp_bytes(stored[::-1].tobytes(), WIDTH, HEIGHT, 32), tmp_path) == values[..., :3]).all()
    lines = np.pad(values[::-1, :, 2::-1].reshape(HEIGHT, -1), ((0, 0), (0, -3 * WIDTH % 4)))
    assert (pixels(bmp_bytes(lines.tobytes(), WIDTH, HEIGHT, 24), tmp_path) == values[..., :3]).all()
    faded = values.copy()
    faded[..., 3] = 0
    faded[0, 0, 3] = 1  # one pixel that is not quite transparent: all others are
    stored = np.concatenate([faded[..., 2::-1], faded[..., 3:]], axis=2)
    found = pixels(bmp_bytes(stored[::-1].tobytes(), WIDTH, HEIGHT, 32, masks=masks), tmp_path)
    assert (found[1:] == 255).all()


@pytest.mark.parametrize("most", [1, 7, 100, 254, 255, 256, 1000, 4095, 65_535])
@pytest.mark.parametrize("bands", [1, 3])
def test_anymaps_of_any_white(tmp_path, most, bands):
    values = NOISE.integers(0, most, (HEIGHT, WIDTH, bands), endpoint=True)
    binary = values.astype(">u2" if most > 255 else "u1").tobytes()
    text = " ".join(map(str, values.ravel())).encode()
    for magic, body in ((b"P%d" % (5 if bands == 1 else 6), binary), (b"P%d" % (2 if bands == 1 else 3), text)):
        content = b"%s\n# by hand\n%d %d\n%d\n" % (magic, WIDTH, HEIGHT, most) + body
        tolerance = 0.501 if body is binary else 1.001
        assert is_right(pixels(content, tmp_path), np.broadcast_to(255 * values / most, (HEIGHT, WIDTH, 3)), tolerance)
        if bands == 1:
            assert (labels(content, tmp_path) == values[..., 0]).all()


def test_bitmaps_of_black_ones_are_pictures_and_no_label_maps(tmp_path):
    values = noise(1, 1)
    content = b"P4 %d %d\n" % (WIDTH, HEIGHT) + packed(values[..., 0], 1, align=1)
    assert (pixels(content, tmp_path) == 255 - 255 * values).all()
    with pytest.raises(ImageError, match="not clear which numbers are the classes"):
        labels(content, tmp_path)


def test_gif(tmp_path):
    values = noise(8, 1)[..., 0]
    for table in (
        NOISE.integers(0, 256, (256, 3)).astype(np.uint8),
        np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1),
    ):
        for options in ({}, {"interlace": 0}, {"transparency": int(values[0, 0])}):  # optimised, Pillow renumbers them
            image = Image.fromarray(values)
            image.putpalette(table.tobytes())
            out = io.BytesIO()
            image.save(out, "GIF", optimize=False, **options)
            expected = table[values].astype(int)
            if "transparency" in options:
                expected[values == values[0, 0]] = 255
            assert (pixels(out.getvalue(), tmp_path) == expected).all()
            assert (labels(out.getvalue(), tmp_path) == values).all()


@pytest.mark.parametrize("bits", [4, 8, 9, 10, 12, 16])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000(tmp_path, bits, bands, codec):
    """Pillow makes white black where colours have more than 8 bits: these are refused."""
    values = noise(bits, bands, "u2" if bits > 8 else "u1")
    values[0] = 2**bits - 1
    content = imagecodecs.jpeg2k_encode(
        values.squeeze(), level=0, reversible=True, bitspersample=bits, codecformat=codec
    )
    assert (imagecodecs.jpeg2k_decode(content) == values.squeeze()).all()
    with pytest.raises(ImageError, match="it is JPEG2000, whatever its name says"):
        labels(content, tmp_path)
    try:
        found = pixels(content, tmp_path)
    except ImageError as error:
        assert "are not read from JPEG 2000" in str(error)  # noqa: PT017
        assert bits != 8
        assert bands == 3 or bits < 10
    else:
        assert is_right(found, as_rgb(values, bits))
        found = load_picture(tmp_path / "image", PixelFormat(1, (0, 2**bits - 1)))
        assert bands == 3 or is_right(found[0], values[..., 0] / (2**bits - 1), 1e-6)


def test_lossless_webp(tmp_path):
    for bands in (3, 4):
        values = noise(8, bands)
        out = io.BytesIO()
        Image.fromarray(values).save(out, "WEBP", lossless=True, exact=True)
        assert is_right(pixels(out.getvalue(), tmp_path), as_rgb(values, 8, "straight" if bands == 4 else ""), 1.5)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}, {"quality": 100}]
)
def test_jpeg_as_others_decode_it(tmp_path, mode, progressive, options):
    smooth = Image.fromarray(noise(8, 3)).resize((91, 67)).convert(mode)
    out = io.BytesIO()
    smooth.save(out, "JPEG", progressive=progressive, **options)
    other = imagecodecs.jpeg8_decode(out.getvalue())
    other = np.repeat(other[..., None], 3, axis=2) if mode == "L" else other
    assert np.abs(pixels(out.getvalue(), tmp_path) - other).max() <= 2
    with pytest.raises(ImageError, match="it is JPEG, whatever its name says"):
        labels(out.getvalue(), tmp_path)


@pytest.mark.parametrize("dtype", ["?", "u1", "<u2", ">u2", "u4", "i1", "<i2", ">i4", "i8", "<f2", ">f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(tmp_path, dtype, order):
    for bands, first in product((1, 2, 3, 4, 7), (False, True)):
        values = (NOISE.normal(50, 30, (HEIGHT, WIDTH, bands)) if "f" in dtype else noise(7, bands)).astype(dtype)
        stored = np.moveaxis(values, 2, 0) if first else values[..., 0] if bands == 1 else values
        out = io.BytesIO()
        np.save(out, np.asarray(stored, order=order))
        (tmp_path / "image").write_bytes(out.getvalue())
        found = load_picture(tmp_path / "image", PixelFormat(bands, (0, 100)))
        expected = (values.astype(float) / 100).clip(0, 1)
        if bands == 3:
            assert is_right(np.asarray(found).astype(float), 255 * expected)
        else:
            assert is_right(np.moveaxis(found, 0, 2), expected, 1e-6)
        if bands == 1 and not first and "f" not in dtype:
            assert (labels(out.getvalue(), tmp_path) == values[..., 0]).all()


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    smooth = np.asarray(Image.fromarray(noise(8, 3)).resize((96, 64)))
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[274] = orientation
        file = heif.from_pillow(Image.fromarray(smooth))
        out = io.BytesIO()
        file.save(out, quality=95, chroma=444, exif=exif.tobytes())
        found = pixels(out.getvalue(), tmp_path)
        assert np.abs(found - turned(smooth, orientation)).mean() < 4
    with pytest.raises(ImageError, match="it is HEIF, whatever its name says"):
        labels(out.getvalue(), tmp_path)


def test_heic_where_it_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with pytest.raises(ImageError, match="HEIC is read where pillow-heif is installed"):
        pixels(content, tmp_path)
