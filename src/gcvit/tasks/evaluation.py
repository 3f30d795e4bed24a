"""What an evaluation found, in the forms in which it is shown and saved: figures, tables, charts, parts of a page."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gcvit import distributed
from gcvit.data.pixels import RGB
from gcvit.errors import UserError
from gcvit.wording import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gcvit.tasks.opened import Opened
    from gcvit.tasks.task import Pictures


class Unreadable(NamedTuple):
    """A picture that was left out. position: in the data set. reason: why it could not be read."""

    position: int
    file: str
    reason: str


class Number(NamedTuple):
    """One figure for a person. meaning: what it is, in a few words."""

    name: str
    value: str
    meaning: str


class Table(NamedTuple):
    """Rows of text under headings; a heading that starts with ">" is set to the right, as numbers are."""

    headings: list[str]
    rows: list[list[str]]


class CSV(NamedTuple):
    """A table for programs."""

    heading: list[str]
    rows: list[list[Any]]


def six_digits(value: float | None) -> str:
    """A figure in a table for programs; "" where there is none."""
    return "" if value is None else f"{value:.6g}"


def check_finite(losses: Sequence[float]) -> None:
    """Raise UserError where an image's loss is no finite number."""
    if broken := sum(not isfinite(loss) for loss in losses):
        raise UserError(
            f"the model's answers to {broken:,} of {len(losses):,} images are not finite numbers: its weights are "
            "damaged or its training diverged; in bf16, try fp32"
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation(ABC):
    """The result over all pictures that could be read, in their order, the same on every rank.

    pictures: what was measured on. unreadable: pictures that were left out. seconds: of loading and computing together,
    of the slowest rank. classes, palette: the model's, by output, of tasks with classes.
    """

    pictures: "Pictures"
    unreadable: list[Unreadable]
    seconds: float
    classes: list[str] = field(default_factory=list)
    palette: list[RGB] | None = None

    FEW: ClassVar[int] = 100
    """Pictures; with fewer the figures are mostly chance."""

    @property
    @abstractmethod
    def measured(self) -> int:
        """The number of pictures that were measured."""

    @property
    @abstractmethod
    def metrics(self) -> dict[str, float | None]:
        """Figures by name, the score first; shares are of one."""

    @abstractmethod
    def numbers(self) -> list[Number]:
        """The figures to show, the score first."""

    def basis(self) -> str:
        """What the figures rest on: "1,000 held-out images of 10 classes"."""
        return plural(self.measured, "held-out image") + self.left_out

    def per_class(self) -> Table:
        """A row for each class that occurs, the worst first; its name comes first."""
        return Table([], [])

    def confused(self, count: int) -> Table:
        """The most frequent mistakes, up to `count`; the headings name what was taken for what."""
        return Table([], [])

    def charts(self, title: str) -> dict[str, "Figure"]:
        """Charts by the names of their files, without suffix."""
        return {}

    def sections(self) -> list[str]:
        """Parts of a page between the headline and what it was made with, as HTML; some may be empty."""
        return []

    def tables(self) -> dict[str, CSV]:
        """Tables by the names of their files, without suffix."""
        return {}

    def files(self) -> dict[str, bytes]:
        """Further files by their names, for other programs."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON types."""
        return dict(self.metrics)

    @property
    def left_out(self) -> str:
        """How many pictures could not be read, to follow others; "" for none."""
        return f"; {plural(len(self.unreadable), 'image')} could not be read" if self.unreadable else ""

    @property
    def images_per_second(self) -> float:
        return self.measured / self.seconds

    @property
    def caution(self) -> str | None:
        """What to say of figures that rest on few pictures."""
        if self.measured >= self.FEW:
            return None
        return f"Only {plural(self.measured, 'image')}: the figures are rough; with others they may change much."


class Meter(ABC):
    """Measures a model, batch after batch; all ranks have one each, for their shares of the pictures.

    rows: what is kept of each picture, its place in the data set first.
    """

    def __init__(self, opened: "Opened", looks: Any, pictures: "Pictures", device: torch.device) -> None:
        self.opened, self.looks, self.pictures = opened, looks, pictures
        self.rows: list[Any] = []

    @abstractmethod
    def add(self, model: nn.Module, images: Tensor, targets: Any, positions: Sequence[int]) -> None:
        """Measure pictures of one size, on the model's device; positions: their places in the data set."""

    @abstractmethod
    def evaluation(self, unreadable: list[Unreadable], seconds: float) -> Evaluation:
        """The result over all ranks' shares; every rank calls it. Raises UserError where the data or the model's
        answers allow none."""

    def all_rows(self) -> list[Any]:
        """Those of all ranks, in the order of the data set; every rank calls it."""
        return sorted((row for share in distributed.gather(self.rows) for row in share), key=itemgetter(0))
