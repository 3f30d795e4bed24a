"""What every doctor does, whatever the task: look at each picture of a set, and report what is true of any pictures."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch.utils.data import Dataset

from gcvit.data.formats import Refused, blocks
from gcvit.data.formats.decoding import decode, lacks_end
from gcvit.data.images import ImageError, pixel_limit, read_safely
from gcvit.data.loading import Loader
from gcvit.data.measuring import Moments, Numbers, mean_std, moments_of, numbers_of
from gcvit.data.pixels import Picture, picture_of, size_of, upright
from gcvit.data.remarks import Remarks
from gcvit.data.samples import Source
from gcvit.data.settings import RGB8, PixelFormat
from gcvit.data.split_names import WHOLE, is_held_out

HUGE = 24_000_000  # pixels; such an image takes half a second to decode each time it is seen
FEW_LEVELS = 64  # of 256 levels of grey: with fewer, much of what a file shows is lost
AT_ONCE = 16  # pictures that a process looks at before it hands over what it has seen
CLASSES = 16  # the largest number of classes that are all listed
SHOWN = 4  # channels

LEAK = "held-out image that is also trained on"
REPEAT = "repeated image"
PASSED_OVER = "files that are not read"
HELD_OUT_ONLY = "class that is only held out"
NEVER = "class that never occurs"
NARROW = "numbers that use a fraction of their range"

Place = TypeVar("Place")
What = TypeVar("What")


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    kind: what it is, the same words for all of a kind. files: that it concerns. read_with: fields of `PixelFormat` with
    which these files are read right; nothing is wrong with them then.
    """

    kind: str
    files: list[str]
    detail: str = ""
    read_with: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Health(ABC):
    """What was found.

    root: where. sides: 5 quantiles (least, quarter, median, three quarters, greatest) of the readable pictures' width
    and height, in pixels. mean, std: of each channel, of levels from 0 to 1, over all pixels of the pictures that are
    not held out. faults: to be mended. notes: to be known.
    """

    root: str
    sides: dict[str, list[int]]
    faults: list[Finding]
    notes: list[Finding]
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)

    @property
    @abstractmethod
    def parts(self) -> dict[str, str]:
        """What is in each part, in words."""

    @abstractmethod
    def per_class(self) -> tuple[list[str], list[list[str]]]:
        """Headings and rows of a table of classes; a heading that starts with ">" is set to the right."""

    @property
    def trains(self) -> bool:
        """Whether there is something to train on."""
        return not all(map(is_held_out, self.parts))

    def facts(self) -> list[tuple[str, str]]:
        """What there is, (name, value) lines for a person."""
        pairs = [("data", self.root), *self.parts.items()]
        for side, (least, quarter, median, three_quarters, most) in self.sides.items():
            spread = f"{least} to {most}, median {median}, half of them {quarter} to {three_quarters}"
            pairs.append((side, spread if least < most else f"{least}"))
        if self.mean:
            mean, std = (" ".join(f"{value:.3f}" for value in part[:SHOWN]) for part in (self.mean, self.std))
            more = f" (of {SHOWN} of {len(self.mean)} channels)" if len(self.mean) > SHOWN else ""
            pairs.append(("levels", f"mean {mean}, deviation {std}, black 0 to white 1{more}"))
        return pairs


def class_table(
    names: Iterable[str],
    found: Mapping[str, Mapping[str, float]],
    ends: tuple[str, str],
    said: Callable[[Any], str] = "{:,}".format,
) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row for each class: all, or of many the two ends, which are called `ends`.

    found: how much there is of a class, by part; the first part says which are the ends. said: that, for a person."""
    title, names, first = "class", list(names), next(iter(found.values()), {})
    if len(names) > CLASSES:
        title = f"the {CLASSES // 2} {' and '.join(ends)} of {len(names):,} classes"
        names.sort(key=lambda name: (first.get(name, 0), name))
        names[CLASSES // 2 : -CLASSES // 2] = []
    rows = [[name, *(said(part.get(name, 0)) for part in found.values())] for name in names]
    return [title, *(f">{part}" for part in found)], rows


class Seen(NamedTuple):
    """What an image is, or why it could not be read.

    file: SHA-256 of its bytes. pixels: SHA-256 of what the model would see, size included. numbers, moments: what was
    measured of it. ended: whether the file has its end mark, if its kind has one. channels: as in `Refused`.
    """

    width: int
    height: int
    file: bytes
    pixels: bytes
    reason: str = ""
    numbers: Numbers | None = None
    moments: Moments | None = None
    ended: bool = True
    channels: int | None = None


class Looked(NamedTuple):
    """A picture that was looked at. part: of the set that it belongs to. file: what a person calls it."""

    part: str
    file: str
    seen: Seen


class _Looks(Dataset):
    def __init__(self, places: Sequence[Any], look: Callable[[Any], Any]) -> None:
        self.places, self.look = places, look

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.look(self.places[index])


def look_through(
    places: Sequence[Place],
    look: Callable[[Place], What],
    workers: int,
    progress: Callable[[int, int], None],
) -> list[What]:
    """What `look`, which can be pickled, sees at each place, in their order.

    A place that is a tuple begins with what it is called. workers: processes that read. progress: called with how many
    are done, and of all. Raises LoadingFailed where a worker dies or hangs.
    """
    reads, seen = _Looks(places, look), list[What]()
    loader = Loader(
        reads,
        AT_ONCE,
        sampler=range(len(places)),
        workers=workers,
        name=lambda index: str(place[0] if isinstance(place := places[index], tuple) else place),
        collate=list,
    )
    for some in loader:
        seen += some
        progress(len(seen), len(places))
    return seen


def look_at(source: Source, pixels: PixelFormat = RGB8) -> Seen:
    """Read one image, damaged or not."""
    most = pixel_limit()

    def look(content: bytes) -> Seen:
        stored, orientation = decode(content, most, pixels.channels)
        numbers = numbers_of(stored)
        try:
            picture = upright(picture_of(stored, pixels), orientation)
        except Refused as error:
            return Seen(0, 0, b"", b"", str(error), numbers, channels=error.channels)
        width, height = size_of(picture)
        file, ended = hashlib.sha256(content).digest(), not lacks_end(content)
        return Seen(width, height, file, _digest(picture), "", numbers, moments_of(picture), ended)

    try:
        return read_safely(source, most, look)
    except ImageError as error:
        return Seen(0, 0, b"", b"", str(error).removeprefix(f"cannot read image {source}: "))


def _digest(picture: Picture) -> bytes:
    """SHA-256 of size and pixels."""
    width, height = size_of(picture)
    digest = hashlib.sha256(f"{width, height}".encode())
    for rows in blocks(height, width):
        if isinstance(picture, np.ndarray):
            digest.update(picture[:, rows].tobytes())
        else:
            digest.update(picture.crop((0, rows.start, width, rows.stop)).tobytes())
    return digest.digest()


def in_common(
    looked: Sequence[Looked],
    pixels: PixelFormat,
    remarks: Remarks,
    faults: Iterable[Finding],
    notes: Iterable[Finding],
) -> dict[str, Any]:
    """What a `Health` says of pictures whatever the task: its fields but for `root`, with the task's own findings."""
    mean, std = mean_std(one.seen.moments for one in looked if one.seen.moments and not is_held_out(one.part))
    sizes = np.array([(seen.width, seen.height) for _, _, seen in looked if not seen.reason])
    sides = (
        np.quantile(sizes, (0, 0.25, 0.5, 0.75, 1), axis=0, method="nearest").astype(int).T.tolist()
        if len(sizes)
        else []
    )
    return {
        "sides": dict(zip(("width", "height"), sides, strict=False)),
        "mean": list(mean),
        "std": list(std),
        "faults": [*faults, *_about_numbers(looked, pixels)],
        "notes": [*_about_remarks(remarks), *notes, *_about_files(looked, pixels)],
    }


def _about_remarks(remarks: Remarks) -> Iterator[Finding]:
    """How folders were understood, and a finding for each suffix of files that are not read."""
    for note in remarks.notes:
        yield Finding("how the folders were read", [], note)
    for suffix, number in remarks.passed_over.most_common():
        yield Finding(PASSED_OVER, [remarks.examples[suffix]], f"{number:,} {suffix or 'without suffix'}")


def about_most_passed_over(remarks: Remarks, files: int) -> Iterator[Finding]:
    """Where fewer files are read than are not. files: that are, label files among them."""
    passed_over = remarks.passed_over.total()
    if passed_over > files:
        detail = f"{passed_over:,} of {passed_over + files:,}: {remarks.kinds()}"
        yield Finding("most files are not read", [*remarks.examples.values()], detail)


def about_unreadable(looked: Sequence[Looked], kind: str) -> Iterator[Finding]:
    """Each picture that cannot be read, and why; with how many channels, where no other picture has another number."""
    asked = {seen.channels for _, _, seen in looked if seen.channels or not seen.reason}
    for _, file, seen in looked:
        if seen.reason:
            right = {"channels": seen.channels} if seen.channels and len(asked) == 1 else {}
            yield Finding(kind, [file], seen.reason, right)


def about_repeats(
    looked: Sequence[Looked],
    contradiction: str,
    told: Callable[[int], Hashable],
    what: str = "",
) -> Iterator[Finding]:
    """Groups of pictures with the same pixels, the worst kind first: LEAK, `contradiction` and REPEAT.

    told: what is annotated in a picture, by its number, None where nobody can say: of a contradiction there are
    several. what: that is, in a word; else it is named, as classes are.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for number, one in enumerate(looked):
        if not one.seen.reason:
            groups[one.seen.pixels].append(number)
    found: dict[str, list[Finding]] = {LEAK: [], contradiction: [], REPEAT: []}
    for numbers in groups.values():
        group = [looked[number] for number in numbers]
        parts, files = sorted({one.part for one in group}), list(dict.fromkeys(one.file for one in group))
        if len(parts) == 1 and len(files) == 1:
            continue
        several = sorted({told(number) for number in numbers} - {None}, key=str)
        kind = LEAK if len(set(map(is_held_out, parts))) > 1 else contradiction if len(several) > 1 else REPEAT
        same_file = len({one.seen.file for one in group}) == 1
        detail = "the same file" if same_file else "the same pixels in different files"
        if not what:
            detail += f" in {' and '.join(map(str, several))}"
        elif len(several) > 1:
            detail += f" with different {what}"
        if len(parts) > 1:
            detail += f", in {' and '.join(parts)}"
        elif parts == [WHOLE]:
            detail += "; a division of this set may train on one and hold out the other"
        found[kind].append(Finding(kind, files, detail))
    for findings in found.values():
        yield from findings


def about_held_out_only(counts: Mapping[str, Mapping[str, int]], training: str) -> Iterator[Finding]:
    """Classes of which there is nothing in the part to train on. counts: how much there is, by part and class."""
    for part, found in counts.items():
        if only := [label for label, number in found.items() if number and not counts[training].get(label)]:
            yield Finding(HELD_OUT_ONLY, only, f"in {part}, never in {training}")


def about_never(counts: Iterable[Mapping[str, int]]) -> Iterator[Finding]:
    """Classes of which there is nothing anywhere. counts: how much there is by class, of each part."""
    total = Counter[str]()
    for found in counts:
        total.update(found)
    if never := [label for label, number in total.items() if not number]:
        yield Finding(NEVER, never)


def _about_numbers(looked: Sequence[Looked], pixels: PixelFormat) -> Iterator[Finding]:
    """Numbers of which no level or too few levels remain, and the range that would keep them."""
    kinds: dict[tuple[str, int | None], dict[str, Numbers]] = defaultdict(dict)
    for _, file, seen in looked:
        if seen.numbers:
            kinds[seen.numbers.kind, seen.numbers.white][file] = seen.numbers
    alike = len(kinds) == 1 and all(seen.numbers or seen.reason for _, _, seen in looked)
    for (kind, white), files in kinds.items():
        least, low = min(one.least for one in files.values()), min(one.low for one in files.values())
        greatest, high = max(one.greatest for one in files.values()), max(one.high for one in files.values())
        said = f"{kind} from {least:.6g} to {greatest:.6g}"
        limits = _range(white, least, greatest, low, high)
        advice = "--value-range {:.9g} {:.9g}".format(*limits)
        right = {"value_range": limits} if alike else {}
        black, full = pixels.value_range or (0, white)
        if full is None:
            yield Finding("numbers without black and white", list(files), f"{said}: {advice}", right)
        elif (levels := 255 * (high - low) / abs(full - black)) < FEW_LEVELS:
            detail = f"{said}: {levels + 1:.0f} of 256 levels of grey remain; {advice}"
            yield Finding(NARROW, list(files), detail, right)


def _range(white: int | None, least: float, greatest: float, low: float, high: float) -> tuple[float, float]:
    """Black and white that keep what there is: from 0 to all ones where numbers begin near 0, as cameras have it; else
    what occurs, without what is rare and far off."""
    if white is not None and low <= high / 4:
        return 0, 2 ** max(1, int(high)).bit_length() - 1
    if greatest - least > 4 * (high - low) > 0:
        least, greatest = low, high
    span = greatest - least or 1
    step = 10 ** math.floor(math.log10(span)) / 100 if least % 1 or greatest % 1 else 1
    return step * math.floor(least / step), step * math.ceil((least + span) / step)


def _about_files(looked: Sequence[Looked], pixels: PixelFormat) -> Iterator[Finding]:
    """Pictures that take long to decode, files without their end, and what the value range does not mean."""
    beyond, shallow, deep = [], [], False
    for _, file, seen in looked:
        if seen.width * seen.height > HUGE:
            yield Finding("huge", [file], f"{seen.width}×{seen.height} px")
        if not seen.ended:
            yield Finding("file without its end mark", [file], "its picture is whole; copy it once more, if you can")
        if seen.reason or pixels.value_range is None:
            continue
        if seen.numbers is None:
            shallow.append(file)
        else:
            deep = True
            if seen.numbers.low < min(pixels.value_range) or seen.numbers.high > max(pixels.value_range):
                beyond.append(file)
    if beyond:
        yield Finding("numbers beyond the value range", beyond, "they are black and white like its ends")
    if shallow and deep:
        yield Finding("8 bits among deeper images", shallow, "the value range is that of the others; convert the ones")
