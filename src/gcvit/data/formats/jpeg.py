"""JPEG files: whether all of the picture is there. libjpeg, asked alone, makes grey of what is missing, in silence."""

import re
from functools import partial
from io import BytesIO
from math import ceil
from typing import Any, NamedTuple

from PIL import Image, ImageFile, JpegImagePlugin

from gcvit.data.formats import Opened, Refused, plain
from gcvit.data.formats.tags import block_of_tags
from gcvit.internals.of_others import stepwise_decoder

MOST_SCANS = 64  # each goes over the whole picture; usual are 1, or 5 to 18 where it is progressive
MOST_SEGMENTS = 10_000

END = b"\xff\xd9"
_ARITHMETIC = range(0xC9, 0xD0)  # its decoder cannot wait for more
_PROGRESSIVE = 0xC2
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # the others stand within a scan's data
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

_LAST = 16  # bytes of a scan that are held back, to see whether they are needed
_FILLER = 24  # equal bytes at a scan's end from which on they may be no picture
_NO_CODE = b"\xff\x00" * 8  # 64 bits, which are no Huffman code, for a decoder that looks ahead


class _Scan(NamedTuple):
    """header: its components and bands. start, end: of its data. interval: MCUs between restart markers, 0: none."""

    header: bytes
    start: int
    end: int
    interval: int


class Jpeg(NamedTuple):
    """What a file is made of.

    process: the second byte of its frame's marker. frame: the frame's header. scans: in order. exif: the tags. head:
    what comes before the first scan's data, without tags. ended: whether it has its end mark.
    """

    process: int
    frame: bytes
    scans: list[_Scan]
    exif: bytes
    head: bytes
    ended: bool


def parts(content: bytes) -> Jpeg:
    """What a JPEG file is made of, up to its end mark. Raises Refused for too many parts and too few."""
    at, interval, ended = 2, 0, False
    process, frame, scans = 0, b"", list[_Scan]()
    exif, head = bytearray(), bytearray(content[:2])
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(content, at)
        if found is None or found[0] == END:
            ended = found is not None
            break
        start, kind, at = found.start(), found[1][0], found.end()
        length = int.from_bytes(content[at : at + 2], "big")
        segment = content[at + 2 : at + length]
        at += max(length, 2)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            process, frame = kind, segment
        elif kind == 0xDD:
            interval = int.from_bytes(segment[:2], "big")
        elif kind == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif += segment[6:]
            continue
        if not scans:
            head += content[start:at]
        if kind == 0xDA:
            following = _MARKER.search(content, at)
            end = following.start() if following else len(content)
            scans.append(_Scan(segment, at, end, interval))
            at = end
            if len(scans) > MOST_SCANS:
                raise Refused(f"it has more than {MOST_SCANS} scans, which would take minutes to decode")
    else:
        raise Refused(f"it has more than {MOST_SEGMENTS:,} segments")
    if not scans or len(frame) < 6:
        raise Refused("truncated before its picture begins" if not ended else "there is no picture in it")
    return Jpeg(process, frame, scans, bytes(exif), bytes(head), ended)


def opened(content: bytes) -> Opened:
    """A picture, of MPO the first one. Loading it raises Refused where a part of it is missing.

    An end mark is not asked for: the data themselves tell whether they are whole. The decoder waits for more where they
    end too early, and is done, or looks for the next marker, where they do not. What cannot be told: damage that leaves
    the number of blocks as it is, and what is missing where arithmetic coding was used.
    """
    jpeg = parts(content)
    if jpeg.exif:
        block_of_tags(jpeg.exif)  # whoever reads it
    if jpeg.process in _ARITHMETIC:
        return plain(JpegImagePlugin.JpegImageFile(BytesIO(content)))
    image = JpegImagePlugin.JpegImageFile(BytesIO(jpeg.head))
    if jpeg.exif:
        image.info["exif"] = jpeg.exif
    return Opened(image, partial(_load, image, content, jpeg))


def _load(image: ImageFile.ImageFile, content: bytes, jpeg: Jpeg) -> Image.Image:
    _check_restarts(jpeg, content)
    _check_bands(jpeg)
    if (pillows := stepwise_decoder(image)) is None:
        whole = JpegImagePlugin.JpegImageFile(BytesIO(content))
        whole.load()
        return whole
    decoder, at = _Decoder(pillows), 0
    for scan in jpeg.scans:
        _feed(decoder, content[at : scan.start], content[scan.start : scan.end])
        at = scan.end
    decoder.feed(END)
    if not decoder.done:
        raise Refused("truncated: a part of the picture is missing")
    image.tile = []  # or load() would begin anew
    return image


class _Decoder:
    """Pillow's, fed by hand. `waiting`: bytes that it cannot use before there are more."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.waiting, self.done = b"", False

    def feed(self, content: bytes) -> None:
        if self.done:
            return
        self.waiting += content
        used, error = self._decoder.decode(self.waiting)
        if error < 0:
            raise Refused("damaged: it cannot be decoded")
        self.done = used < 0
        self.waiting = b"" if self.done else self.waiting[used:]

    def is_idle(self, content: bytes) -> bool:
        """Whether it needs none of these bytes: then it skips each at once, or two in a pair that may be a marker."""
        for at in range(len(content)):
            self.feed(content[at : at + 1])
            if len(self.waiting) > 1:
                self.feed(content[at + 1 :])
                return False
        return True


def _feed(decoder: _Decoder, before: bytes, data: bytes) -> None:
    """Give it a scan's data, with what comes before them. Raises Refused where they are too few or too many."""
    filler = len(data) - len(data.rstrip(data[-1:]))
    if filler > _FILLER:
        needed = len(data) - filler + _LAST
        decoder.feed(before + data[:needed])
        if decoder.is_idle(data[needed : len(data) - filler + _FILLER]):
            return  # a whole picture with something behind it
        before, data = b"", data[len(data) - filler + _FILLER :]
    held = min(_LAST, len(data) // 2)
    decoder.feed(before + data[: len(data) - held])
    if held and decoder.is_idle(data[-held:]) and held == _LAST:
        raise Refused("damaged: there are more data than its picture takes")
    decoder.feed(_NO_CODE)
    if not decoder.is_idle(b"\0\0\0\0"):
        raise Refused("truncated: a part of the picture is missing")


def _check_restarts(jpeg: Jpeg, content: bytes) -> None:
    """Raise Refused where restart markers are missing, which are there to be counted."""
    for scan in jpeg.scans:
        if scan.interval:
            expected = -(-_mcus(jpeg.frame, scan.header) // scan.interval) - 1
            found = len(_RESTART.findall(content, scan.start, scan.end))
            if found < expected:
                raise Refused(f"damaged: it has {found:,} of {expected:,} restart markers")


def _mcus(frame: bytes, scan: bytes) -> int:
    """Blocks of the scan that are coded as one: of a single component 8×8 samples, of several what they share."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    factors = {frame[at]: divmod(frame[at + 1], 16) for at in range(6, 6 + 3 * frame[5], 3)}
    across, down = (max(1, *some) for some in zip(*factors.values(), strict=True))
    if scan[0] == 1:
        h, v = factors.get(scan[1], (1, 1))
        return ceil(ceil(width * h / across) / 8) * ceil(ceil(height * v / down) / 8)
    return ceil(width / (8 * across)) * ceil(height / (8 * down))


def _check_bands(jpeg: Jpeg) -> None:
    """Raise Refused where the scans of a progressive picture do not bring all bits of all coefficients."""
    if jpeg.process != _PROGRESSIVE:
        return
    missing = {jpeg.frame[at]: set(range(64)) for at in range(6, 6 + 3 * jpeg.frame[5], 3)}
    for scan in jpeg.scans:
        count = scan.header[0]
        first, last, bits = scan.header[1 + 2 * count : 4 + 2 * count]
        if bits & 15 == 0:
            for component in scan.header[1 : 1 + 2 * count : 2]:
                missing.get(component, set()).difference_update(range(first, last + 1))
    if any(missing.values()):
        raise Refused("truncated: the last scans of the picture are missing")
