"""What a model takes for a pixel: the number of channels, black and white, and the rules from one to the other."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.writing import png_bytes, tiff_bytes
from gcvit.data.augment import eval_transform, train_transform
from gcvit.data.classify_doctor import examine
from gcvit.data.doctor import NARROW
from gcvit.data.images import ImageError, load_picture
from gcvit.data.label_maps import LabelMapping
from gcvit.data.labelled import LabelledImages
from gcvit.data.measuring import mean_std, moments_of
from gcvit.data.pixels import as_rgb, size_of
from gcvit.data.scenes import ShapeScenes
from gcvit.data.segment import SegmentationImages
from gcvit.data.segment_doctor import examine_scenes
from gcvit.data.segment_folders import Pair
from gcvit.data.segment_transforms import EvalScene, TrainScene
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.data.shapes import ShapesDataset
from gcvit.errors import UserError

NOISE = np.random.default_rng(0)
LUMA = np.array([0.299, 0.587, 0.114])


def written(folder: Path, values: np.ndarray, name: str = "image", **options: object) -> Path:
    """As a TIFF file, (height, width, bands), with all that there is."""
    options.setdefault("photometric", "minisblack")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(tiff_bytes(values, **options))
    return folder / name


@settings(max_examples=60)
@given(
    black=st.integers(-2_000, 60_000),
    white=st.integers(-2_000, 60_000),
    dtype=st.sampled_from(["u1", "u2", "i2", "u4", "i4", "f4", "f8"]),
)
def test_black_and_white_are_what_the_range_says(tmp_path_factory, black, white, dtype):
    """In any order, with whatever is beyond black or white like its ends, in RGB and in any number of channels."""
    folder = tmp_path_factory.getbasetemp()
    low, high = (0, 255) if dtype == "u1" else (-30_000, 30_000) if dtype in ("i2", "i4", "f4", "f8") else (0, 65_535)
    values = NOISE.integers(low, high, (5, 7, 2), endpoint=True).astype(dtype)
    if black == white:
        with pytest.raises(UserError, match="value_range must be two different numbers"):
            PixelFormat(2, (black, white))
        return
    expected = ((values.astype(float) - black) / (white - black)).clip(0, 1)
    found = load_picture(written(folder, values), PixelFormat(2, (black, white)))
    assert np.allclose(np.moveaxis(found, 0, 2), expected, atol=1e-6)
    grey = load_picture(written(folder, values[..., :1]), PixelFormat(3, (black, white)))
    assert np.abs(np.asarray(grey) - 255 * expected[..., :1]).max() <= 0.501


def test_twelve_bits_keep_their_levels(tmp_path):
    """Without a range, of 4,096 numbers 17 levels would remain."""
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64, 1)
    for bands, photometric, format_ in ((1, "minisblack", "tif"), (3, "rgb", "tif"), (1, "", "png"), (3, "", "png")):
        deep = np.repeat(values, bands, axis=2)
        content = png_bytes(deep, 16) if format_ == "png" else tiff_bytes(deep, photometric=photometric)
        (tmp_path / "image").write_bytes(content)
        assert len(np.unique(np.asarray(load_picture(tmp_path / "image")))) == 17
        found = np.asarray(load_picture(tmp_path / "image", PixelFormat(3, (0, 4095))))
        assert len(np.unique(found)) == 256
        assert (found == np.rint(deep / 4095 * 255)).all()


@pytest.mark.parametrize(
    "wrong", [{"channels": 0}, {"channels": 5000}, {"value_range": (1.0, 1.0)}, {"value_range": (0.0, float("nan"))}]
)
def test_pixels_that_cannot_be(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} must be"):
        PixelFormat(**wrong)


def test_one_channel_from_colours_is_their_luma_and_colours_from_grey_are_equal(tmp_path):
    values = NOISE.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    one = PixelFormat(1)
    for stored in (values, values * np.uint16(257)):
        found = load_picture(written(tmp_path, stored, photometric="rgb"), one)
        assert found.shape == (1, 9, 8)
        assert np.allclose(found[0], values / 255 @ LUMA, atol=1e-6)
    grey = values[..., :1]
    assert np.allclose(load_picture(written(tmp_path, grey), one)[0], grey[..., 0] / 255)
    assert (np.asarray(load_picture(written(tmp_path, grey))) == grey).all()
    image = Image.fromarray(grey[..., 0]).convert("P")
    image.save(tmp_path / "p.png")
    assert np.allclose(load_picture(tmp_path / "p.png", one)[0], grey[..., 0] / 255, atol=1e-6)
    clear = np.concatenate([grey, np.full_like(grey, 51)], axis=2)
    (tmp_path / "la.png").write_bytes(png_bytes(clear, 8, alpha=True))
    expected = grey[..., 0] / 255 * 0.2 + 0.8
    assert np.allclose(load_picture(tmp_path / "la.png", one)[0], expected, atol=1e-6)
    assert np.allclose(load_picture(tmp_path / "la.png", one, background=(0, 0, 0))[0], expected - 0.8, atol=1e-6)


def test_other_channels_are_the_bands_of_the_file_and_no_others(tmp_path):
    values = NOISE.integers(0, 256, (9, 8, 5), dtype=np.uint8)
    for count in (1, 2, 3, 4, 5):
        file = written(tmp_path, values[..., :count])
        for channels in (2, 4, 5):
            if channels == count:
                assert (load_picture(file, PixelFormat(channels)) * 255 == np.moveaxis(values[..., :count], 2, 0)).all()
            else:
                with pytest.raises(
                    ImageError, match=f"it has {count} bands?, and the model takes pictures of {channels}"
                ):
                    load_picture(file, PixelFormat(channels))
    rgba = values[..., :4]
    (tmp_path / "a.png").write_bytes(png_bytes(rgba, 8, alpha=True))
    found = load_picture(tmp_path / "a.png", PixelFormat(4))
    assert np.allclose(found * 255, np.moveaxis(rgba, 2, 0), atol=1e-4)  # alpha is a band like others
    with pytest.raises(ImageError, match="--in-chans"):
        load_picture(written(tmp_path, values))
    tifffile.imwrite(tmp_path / "nir.tif", rgba, photometric="rgb", extrasamples=["unspecified"])
    assert (np.asarray(load_picture(tmp_path / "nir.tif")) == rgba[..., :3]).all()  # said to be RGB and something
    assert np.allclose(load_picture(tmp_path / "nir.tif", PixelFormat(4)) * 255, np.moveaxis(rgba, 2, 0), atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(tmp_path, value):
    values = np.zeros((9, 8, 2), np.float32)
    values[3, 4, 1] = value
    with pytest.raises(ImageError, match="not finite"):
        load_picture(written(tmp_path, values), PixelFormat(2, (0, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 7.0])
def test_an_alpha_that_is_no_share_is_refused_or_cut_off(tmp_path, value):
    """Among floats nothing bounds it."""
    array = np.full((8, 8, 4), 0.5, np.float32)
    array[..., 3] = value
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    pixels = PixelFormat(3, (0.0, 1.0))
    if np.isfinite(value):
        assert np.asarray(load_picture(tmp_path / "a.tif", pixels)).tolist() == [[[128] * 3] * 8] * 8
        return
    with pytest.raises(ImageError, match=r"a\.tif: .*not finite"):
        load_picture(tmp_path / "a.tif", pixels)


def test_pictures_as_people_see_them():
    bands = NOISE.random((5, 4, 6)).astype(np.float32)
    shown = np.moveaxis(np.rint(bands * 255), 0, 2)
    assert as_rgb(bands).size == size_of(bands) == (6, 4)
    assert (np.asarray(as_rgb(bands)) == shown[..., :3]).all()
    for count in (1, 2):
        assert (np.asarray(as_rgb(bands[:count])) == shown[..., :1]).all()
    image = Image.new("RGB", (3, 2))
    assert as_rgb(image) is image
    assert size_of(image) == (3, 2)


def test_data_sets_read_what_they_are_told(tmp_path):
    files = [written(tmp_path, NOISE.integers(0, 4096, (9, 8, 1), dtype=np.uint16), f"{name}.tif") for name in "ab"]
    labels = tmp_path / "labels.png"
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(labels)
    pixels = PixelFormat(1, (0, 4095))
    images = LabelledImages(tmp_path, ["some", "other"], [(file, number) for number, file in enumerate(files)])
    scenes = SegmentationImages(tmp_path, [Pair(file, labels) for file in files], ["some"], LabelMapping(1))
    for dataset in (images, scenes):
        assert dataset.pixels == RGB8
        assert dataset[0][0].mode == "RGB"
        other = dataset.with_pixels(pixels)
        assert dataset.pixels == RGB8
        for one in (other[0], other.subset([0])[0]):
            assert one[0].shape == (1, 9, 8)
            assert one[0].max() > 0.9
    assert images.with_pixels(pixels).with_classes(["other", "some"])[0][0].shape == (1, 9, 8)
    for built_in in (ShapesDataset("train", 10), ShapeScenes("train", 4)):
        grey = built_in.with_pixels(PixelFormat(1))[0][0]
        assert np.allclose(grey[0], np.asarray(built_in[0][0]) / 255 @ LUMA, atol=1e-6)
        with pytest.raises(UserError, match="the built-in scenes are RGB"):
            built_in.with_pixels(PixelFormat(4))


MEAN, STD = (0.5, 0.4, 0.3, 0.2), (0.2, 0.3, 0.4, 0.5)


@pytest.mark.parametrize("size", [48, (48, 64)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(71, 90), (71, 40), (10, 640)])
def test_evaluation_s_geometry_is_timm_s(size, crop_mode, shape):
    """Of a smooth picture, four equal channels as tensors are what an RGB image gives, but for the rounding to 8 bits
    and for another way to resize."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    smooth = (0.5 + 0.25 * np.sin(rows / 9) + 0.25 * np.cos(columns / 11)).astype(np.float32)
    settings = {"size": size, "crop_mode": crop_mode}
    rgb = Image.fromarray(np.repeat(np.rint(255 * smooth).astype(np.uint8)[..., None], 3, axis=2))
    theirs = eval_transform(**settings, mean=(0, 0, 0), std=(1, 1, 1))(rgb)
    ours = eval_transform(**settings, mean=(0,) * 4, std=(1,) * 4)(np.stack([smooth] * 4))
    assert ours.shape == (4, *theirs.shape[1:])
    assert ours.dtype == torch.float32
    difference = (ours[0] - theirs[0]).abs()
    assert difference.median() < 0.01
    assert difference.quantile(0.97) < 0.05


def test_each_channel_is_normalised_by_its_own():
    levels = np.broadcast_to(np.array([0.1, 0.5, 0.7, 1.0], np.float32)[:, None, None], (4, 40, 30)).copy()
    expected = (torch.tensor([0.1, 0.5, 0.7, 1.0]) - torch.tensor(MEAN)) / torch.tensor(STD)
    for transform in (
        eval_transform(size=32, mean=MEAN, std=STD),
        train_transform(size=32, mean=MEAN, std=STD, color_jitter=0, rand_augment=None, random_erasing=0),
        EvalScene(mean=MEAN, std=STD),
    ):
        result = transform(levels)
        assert torch.allclose(result, expected[:, None, None].expand_as(result), atol=1e-5)
    crop, _ = TrainScene(crop=(20, 24), photometric=False, mean=MEAN, std=STD)(levels, np.zeros((40, 30), np.int16))
    assert (crop - expected[:, None, None]).abs().amin((1, 2)).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_training_varies_pictures_of_any_channels(channels):
    picture = NOISE.random((channels, 60, 70)).astype(np.float32)
    transform = train_transform(size=(32, 40), mean=(0.5,) * channels, std=(0.2,) * channels, rand_augment=None)
    scene = TrainScene(crop=(32, 40), mean=(0.5,) * channels, std=(0.2,) * channels)
    labels = NOISE.integers(0, 3, (60, 70)).astype(np.int16)
    results = []
    for seed in (0, 0, 1):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        results.append((transform(picture.copy()), scene(picture.copy(), labels)[0]))
        assert all(one.shape == (channels, 32, 40) and one.isfinite().all() for one in results[-1])
    assert all(torch.equal(one, same) for one, same in zip(*results[:2], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(*results[1:], strict=True))


def test_what_is_for_rgb_alone():
    one = {"mean": (0.5,), "std": (0.2,)}
    with pytest.raises(
        UserError, match=r"RandAugment is for RGB, and these pictures have 1 channels.*--rand-augment none"
    ):
        train_transform(size=32, **one)
    for make in (eval_transform, lambda **some: train_transform(rand_augment=None, **some)):
        with pytest.raises(UserError, match="interpolation 'lanczos' is for RGB"):
            make(size=32, interpolation="lanczos", **one)


def test_brightness_and_contrast_are_the_same_for_all_channels():
    picture = np.stack([NOISE.random((40, 40)).astype(np.float32)] * 2)
    whole = {"scale": (1, 1), "ratio": (1, 1), "hflip": 0, "rand_augment": None, "random_erasing": 0}
    transform = train_transform(size=40, mean=(0, 0), std=(1, 1), color_jitter=0.5, **whole)
    for seed in range(5):
        torch.manual_seed(seed)
        first, second = transform(picture)
        assert torch.equal(first, second)
        assert not torch.allclose(first, torch.from_numpy(picture[0]), atol=1e-3)


def test_means_and_deviations_are_those_of_all_pixels():
    pictures = [NOISE.random((3, *NOISE.integers(4, 300, 2))).astype(np.float32) for _ in range(5)]
    images = [Image.fromarray(np.moveaxis(np.rint(255 * one).astype(np.uint8), 0, 2)) for one in pictures]
    for some, levels in (
        (pictures, np.concatenate([one.reshape(3, -1) for one in pictures], axis=1).astype(float)),
        (images, np.concatenate([np.asarray(one).reshape(-1, 3) for one in images]).T / 255),
    ):
        mean, std = mean_std(map(moments_of, some))
        assert np.allclose(mean, levels.mean(axis=1), rtol=1e-12)
        assert np.allclose(std, levels.std(axis=1), rtol=1e-9)
        assert mean_std(map(moments_of, some[::-1])) == (mean, std)
    assert mean_std([]) == ((), ())
    assert mean_std([moments_of(Image.new("RGB", (5, 5), (0, 51, 255)))]) == ((0, 0.2, 1), (1, 1, 1))


def numbers(dtype: str, low: float, high: float) -> np.ndarray:
    return NOISE.uniform(low, high, (60, 50, 1)).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "said", "advice"),
    [
        ("u2", 0, 4095, "16-bit integers from 0 to 40", "17 of 256 levels of grey remain; --value-range 0 4095"),
        ("u2", 0, 900, "16-bit integers", "4 of 256 levels of grey remain; --value-range 0 1023"),
        ("u2", 30_000, 34_000, "16-bit integers from 30", "17 of 256 levels of grey remain; --value-range 30"),
        ("u2", 0, 60_000, "", ""),
        ("i2", -1024, 3071, "signed integers from -10", "--value-range -10"),
        ("f4", 0, 1, "floats from ", "--value-range 0 1"),
        ("f8", -0.0021, 0.0037, "floats from -0.002", "--value-range -0.0021 0.0037"),
    ],
)
def test_the_doctor_says_which_range_is_used_and_what_to_set(tmp_path, dtype, low, high, said, advice):
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        written(tmp_path, numbers(dtype, low, high), f"{name}.tif")
    kind = NARROW if dtype == "u2" else "numbers without black and white"
    found = [finding for finding in examine(tmp_path).faults if finding.kind == kind]
    assert len(found) == bool(said)
    if not said:
        return
    assert len(found[0].files) == 4
    assert said in found[0].detail
    assert advice in found[0].detail
    limits = tuple(float(number) for number in found[0].detail.partition("--value-range ")[2].split())
    health = examine(tmp_path, pixels=PixelFormat(3, limits))
    assert health.faults == []
    assert 0.3 < health.mean[0] < 0.7
    assert 0.2 < health.std[0] < 0.35


def test_the_doctor_takes_rare_numbers_for_what_they_are(tmp_path):
    """A hot pixel in one picture does not hide that all others use 12 bits; nor does a dark picture frighten."""
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        values = numbers("u2", 0, 4095)
        values[3, 4] = 65_535
        written(tmp_path / "hot", values, f"{name}.tif")
        written(tmp_path / "dark", numbers("u2", 0, 500 if name == "cat/1" else 65_000), f"{name}.tif")
    assert [finding.kind for finding in examine(tmp_path / "hot").faults] == [NARROW]
    assert examine(tmp_path / "hot").faults[0].read_with == {"value_range": (0, 4095)}
    written(tmp_path / "hot", numbers("u1", 0, 255), "dog/3.tif")  # which that range would darken
    assert examine(tmp_path / "hot").faults[0].read_with == {}
    (tmp_path / "hot" / "dog" / "3.tif").unlink()
    assert examine(tmp_path / "hot").faults[0].detail.endswith("--value-range 0 4095")
    assert examine(tmp_path / "dark").faults == []


def test_the_doctor_says_what_a_range_does_not_hold(tmp_path):
    for name in ("cat/1", "cat/2", "dog/1"):
        written(tmp_path, numbers("u2", 0, 4095), f"{name}.tif")
    written(tmp_path, numbers("u1", 0, 255), "dog/2.tif")
    health = examine(tmp_path, pixels=PixelFormat(3, (0, 2000)))
    notes = {finding.kind: [Path(file).name for file in finding.files] for finding in health.notes}
    assert notes == {
        "numbers beyond the value range": ["1.tif", "2.tif", "1.tif"],
        "8 bits among deeper images": ["2.tif"],
    }
    health = examine(tmp_path, pixels=PixelFormat(3, (0, 65_535)))
    assert [finding.kind for finding in health.faults] == [NARROW]


def test_the_doctor_measures_what_is_trained_on(tmp_path):
    """Many channels, in folders for classification and for segmentation; what is held out does not count."""
    levels = np.array([0.1, 0.4, 0.7, 0.9, 1.0])
    for split, factor in (("train", 1.0), ("val", 0.5)):
        for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
            values = np.broadcast_to(levels * factor, (40, 36, 5)) + NOISE.normal(0, 0.01, (40, 36, 5))
            buffer = io.BytesIO()
            np.save(buffer, (1000 * values).astype(np.float32))
            for file in (f"folders/{split}/{name}.npy", f"scenes/images/{split}/{name.replace('/', '_')}.npy"):
                (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / file).write_bytes(buffer.getvalue())
            labels = tmp_path / f"scenes/labels/{split}/{name.replace('/', '_')}.png"
            labels.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(NOISE.integers(0, 2, (40, 36), dtype=np.uint8)).save(labels)
    pixels = PixelFormat(5, (0, 2000))
    for health in (examine(tmp_path / "folders", pixels=pixels), examine_scenes(tmp_path / "scenes", pixels=pixels)):
        assert health.faults == []
        assert np.allclose(health.mean, levels / 2, atol=1e-3)
        assert np.allclose(health.std, 0.005, atol=1e-3)


def test_the_doctor_says_with_which_pixels_it_is_right(tmp_path):
    """What a finding names reads its files; where something else is wrong too, that is a fault of its own."""
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        written(tmp_path, np.repeat(numbers("u2", 0, 60_000), 5, axis=2), f"{name}.npy")
    faults = examine(tmp_path).faults
    ways = [fault.read_with for fault in faults]
    assert ways == [{"channels": 5}] * 4
    assert examine(tmp_path, pixels=PixelFormat(**ways[0])).faults == []
    (tmp_path / "cat" / "3.png").write_bytes(b"no picture")
    bands = {"channels": 5}
    written(tmp_path, numbers("u1", 0, 255), "cat/4.tif")  # which five channels could not be read from
    assert not any(fault.read_with for fault in examine(tmp_path).faults)
    (tmp_path / "cat" / "4.tif").unlink()
    assert [fault.read_with for fault in examine(tmp_path).faults] == [bands, bands, {}, bands, bands]
