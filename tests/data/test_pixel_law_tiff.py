"""The law of reading for TIFF: what comes out is what was written, or an ImageError."""

import io
from itertools import product

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from data.pixel_law import HEIGHT, NOISE, ORIENTATIONS, WIDTH, is_right, labels, noise, pixels, sampled
from data.writing import as_rgb, packed, tiff_by_hand, tiff_bytes, turned
from gcvit.data.images import ImageError, load_picture
from gcvit.data.label_maps import ColourImageError
from gcvit.data.settings import PixelFormat


def is_known(compression: str) -> bool:
    """Whether this installation of Pillow was built with it."""
    try:
        Image.new("L", (8, 8)).save(io.BytesIO(), "TIFF", compression=compression)
    except (OSError, ValueError):
        return False
    return True


PLANAR = ("contig", "separate")


UNUSUAL = ("zstd", "lzma")


COMPRESSIONS = (None, "lzw", "deflate", "packbits", *filter(is_known, UNUSUAL))


@pytest.mark.parametrize("compression", UNUSUAL)
def test_the_law_holds_for_unusual_compressions_too(compression):
    if compression not in COMPRESSIONS:
        pytest.skip(f"this Pillow was built without {compression}")


TILES, ORDERS = (None, (16, 16)), "<>"


def test_tiff_of_grey_and_rgb(tmp_path):
    extras = ((), ("unspecified",), ("unassalpha",), ("assocalpha",))
    grid = sampled(
        120,
        (8, 16),
        ("minisblack", "miniswhite", "rgb"),
        extras,
        PLANAR,
        COMPRESSIONS,
        (False, True),
        TILES,
        ORDERS,
        ORIENTATIONS,
    )
    for bits, colours, extra, planar, compression, differences, tile, order, orientation in grid:
        values = noise(bits, (3 if colours == "rgb" else 1) + len(extra))
        alpha = {"unassalpha": "straight", "assocalpha": "premultiplied"}.get(extra[0], "") if extra else ""
        if alpha == "premultiplied":
            values[..., :-1] = values[..., :-1].astype(int) * values[..., -1:] // (2**bits - 1)
        content = tiff_bytes(
            values,
            photometric=colours,
            extrasamples=extra or None,
            planarconfig=planar,
            compression=compression,
            predictor=(differences and compression not in (None, "packbits")) or None,
            tile=tile,
            byteorder=order,
            orientation=orientation,
        )
        seen = values if alpha or not extra else values[..., : 3 if colours == "rgb" else 1]
        expected = turned(as_rgb(seen, bits, alpha, white_is_zero=colours == "miniswhite"), orientation)
        case = (bits, colours, extra, planar, compression, differences, tile, order, orientation)
        assert is_right(pixels(content, tmp_path), expected, 1.5 if alpha and bits == 8 else 0.501), case


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_tiff_of_any_depth_and_palettes(tmp_path, bits):
    colours = NOISE.integers(0, 256, (3, 2 ** min(bits, 8)))
    for kind, tile, order, big, orientation in product(
        ("black", "white", "palette"), TILES, ORDERS, (False, True), (1, 6)
    ):
        if (bits == 12 and order == ">") or (kind == "palette" and bits != 8):
            continue  # tifffile writes the one wrongly, and the other not at all
        values = NOISE.integers(0, 2**bits, (HEIGHT, WIDTH, 1)).astype(
            f"u{max(1, 2 * (bits // 16) or (bits > 8) * 2 or 1)}"
        )
        options: dict = {"bitspersample": bits} if bits in (1, 2, 4, 12) else {}
        options |= {"colormap": colours.astype("u2") * 257} if kind == "palette" else {}
        photometric = {"black": "minisblack", "white": "miniswhite"}.get(kind, kind)
        content = tiff_bytes(
            values, photometric=photometric, tile=tile, byteorder=order, bigtiff=big, orientation=orientation, **options
        )
        case = (kind, tile, order, big, orientation)
        if kind == "white":
            with pytest.raises(ImageError, match="not clear which numbers are the classes"):
                labels(content, tmp_path)
        else:
            assert (labels(content, tmp_path) == turned(values[..., 0], orientation)).all(), case
        if kind == "palette":
            expected = np.moveaxis(colours[:, values[..., 0]], 0, 2)
        else:
            expected = as_rgb(values, bits, white_is_zero=kind == "white")
        if kind == "palette" and big and order == ">":
            with pytest.raises(ImageError, match="a kind of TIFF that is not read"):
                pixels(content, tmp_path)
        else:
            assert is_right(pixels(content, tmp_path), turned(expected, orientation)), case


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_tiff_of_many_bands_and_any_numbers(tmp_path, dtype):
    """Each with the range of its type, so that numbers come back as levels between 0 and 1."""
    is_float = dtype.startswith("f")
    low, high = (-4.0, 4.0) if is_float else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for bands, planar, compression, tile, order, orientation in sampled(
        25, (1, 2, 4, 5, 13), PLANAR, COMPRESSIONS, TILES, ORDERS, (1, 7)
    ):
        shape = HEIGHT, WIDTH, bands
        values = (
            NOISE.uniform(low, high, shape).astype(dtype)
            if is_float
            else NOISE.integers(low, high, shape, dtype, endpoint=True)
        )
        differences = (compression not in (None, "packbits") and dtype not in ("u8", "i8")) or None
        content = tiff_bytes(
            values,
            photometric="minisblack",
            planarconfig=planar,
            compression=compression,
            predictor=differences,
            tile=tile,
            byteorder=order,
            orientation=orientation,
        )
        (tmp_path / "image").write_bytes(content)
        found = load_picture(tmp_path / "image", PixelFormat(bands, (float(low), float(high))))
        expected = (turned(values, orientation).astype(float) - low) / (float(high) - low)
        case = (bands, planar, compression, tile, order, orientation)
        assert found.dtype == np.float32, case
        assert is_right(np.moveaxis(found, 0, 2), expected, 1e-6), case
        if bands == 1 and is_float:
            with pytest.raises(ImageError, match="it holds floats, not class numbers"):
                labels(content, tmp_path)
        elif bands == 1 and dtype != "u8":
            assert (labels(content, tmp_path) == turned(values[..., 0], orientation)).all(), case
        elif bands > 1:
            with pytest.raises(ColourImageError):
                labels(content, tmp_path)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("fill_order", [1, 2])
def test_tiff_of_several_numbers_in_a_byte_compressed(tmp_path, bits, fill_order):
    encoders = {1: bytes, 5: imagecodecs.lzw_encode, 8: imagecodecs.zlib_encode, 32773: imagecodecs.packbits_encode}
    values = noise(bits, 1)
    rows = packed(values[..., 0], bits, align=1)
    for compression, encode in encoders.items():
        strip = encode(rows)
        if fill_order == 2:
            strip = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)
        for planes_apart in (1, 2):
            tags = {
                256: WIDTH,
                257: HEIGHT,
                258: bits,
                259: compression,
                262: 1,
                266: fill_order,
                277: 1,
                284: planes_apart,
            }
            content = tiff_by_hand(tags, strip)
            for read, expected in ((pixels, as_rgb(values, bits)), (labels, values[..., 0])):
                try:
                    found = read(content, tmp_path)
                except ImageError:
                    assert fill_order == 2  # nobody writes it but for fax
                else:
                    assert is_right(found, expected), (compression, planes_apart, read)
