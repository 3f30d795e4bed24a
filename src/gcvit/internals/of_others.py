"""Private parts of all but torch. The command line reads its arguments with one of them, so a function that needs a
library imports it."""

from __future__ import annotations

from argparse import Action, ArgumentParser
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import ImageFile

# Loading.


def lend_numpy(generator: np.random.MT19937) -> Callable[[], None]:
    """Have NumPy's global functions draw from `generator`, until what is returned is called. Missing: they keep their
    own, whose state is put back then, 50 times slower."""
    import numpy as np

    get, lend = (getattr(np.random, f"{verb}_bit_generator", None) for verb in ("get", "set"))
    if get is None or lend is None:
        state = np.random.get_state()
        return lambda: np.random.set_state(state)
    own = get()
    lend(generator)
    return lambda: lend(own)


# Other runtimes.


def onnx_refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a file that it cannot read. Missing: any exception."""
    try:
        state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        return state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented
    except (ImportError, AttributeError):
        return (Exception,)


# Image files.


def stepwise_decoder(image: ImageFile.ImageFile) -> Any | None:
    """Pillow's decoder of an opened file of one piece, to be fed by hand. Missing: None, so that the file is decoded at
    once and less of its damage is found."""
    from PIL import Image

    create = getattr(Image, "_getdecoder", None)
    if create is None:
        return None
    image.load_prepare()
    (tile,) = image.tile
    decoder = create(image.mode, tile.codec_name, tile.args, image.decoderconfig)
    decoder.setimage(image.im, tile.extents)
    return decoder


# The command line.


def arguments_of(parser: ArgumentParser) -> list[Action]:
    """What it reads, in order. Missing: none, so that a shell completes the commands alone."""
    return getattr(parser, "_actions", [])
