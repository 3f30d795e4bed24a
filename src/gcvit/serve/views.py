"""What the page shows of a picture: looked at once when it comes, so that moving over it costs no pass of the model."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from math import prod
from threading import Lock
from types import MappingProxyType
from typing import Any

from PIL import Image
from torch import Tensor

from gcvit.data.members import FileInMemory
from gcvit.errors import UserError
from gcvit.explain import HeadOrMean, Look, look
from gcvit.explain.looking import require_visible
from gcvit.explain.settings import Cam, Kind
from gcvit.model.gcvit import Position
from gcvit.tasks.opened import Opened

MOST_PIXELS = 2**20  # of one picture as it goes through the model, and of all that are kept: memory grows with them
KEPT = 16  # pictures
HELD = 2  # of these, with the passes that other classes are asked of: ten times the rest
TARGETS = 20  # of a picture, the likeliest

Map = Tensor  # (rows, columns) of a stage's map


class Gone(UserError):
    """The picture is not kept any more."""


class View:
    """A picture that is looked at. id: of its bytes; name: as a person calls it; line: the answer."""

    def __init__(self, identity: str, name: str, found: Look, line: str) -> None:
        self.id, self.name, self.look, self.line = identity, name, found, line
        self.stages = [tuple(x.shape[2:]) for x in found.trace.maps]
        self.targets = [(target.name, target.confidence) for target in found.targets[:TARGETS]]
        for block in found.mapped:  # what points ask for, without a pass
            found.block(block)
        self._cams: dict[tuple[int, Cam], list[Map]] = {}
        self._parts: dict[int, list[dict[str, Map]]] = {}

    def at_point(self, block: Position, head: HeadOrMean, x: float, y: float, kind: Kind = "image") -> dict[str, Map]:
        """What the place x, y (0 to 1, from the left and from the top) reads in its window, what its query finds in the
        whole picture (global blocks alone; kind: of `BlockAttention.map`), and which places of its window read it. None
        of a block that cannot be shown (`Look.mapped`)."""
        if block in self.look.blocks and block not in self.look.mapped:
            return {}
        height, width = self.look.size
        place = (x * width, y * height)
        found = {"window": self.look.reads(place, block, head), "readers": self.look.read_by(place, block, head)}
        if self.look.block(block).shared:
            found["image"] = self.look.attention(block, kind, head, place)
        return found

    def speaks(self, target: int, cam: Cam = "element-wise") -> list[dict[str, Map]]:
        """For each stage, what speaks for a target: its class map, and the sum over channels of map × gradient in its
        two parts, which came through values and through queries. Raises UserError for a target that is none."""
        stages = range(len(self.stages))
        if target not in self._parts:
            self._parts[target] = [self._split(target, stage) for stage in stages]
        if (target, cam) not in self._cams:
            self._cams[target, cam] = [self.look.cam(target, stage, cam) for stage in stages]
        return [{"cam": one} | parts for one, parts in zip(self._cams[target, cam], self._parts[target], strict=True)]

    def _split(self, target: int, stage: int) -> dict[str, Map]:
        activations = self.look.trace.maps[stage].detach()[0].cpu()
        return {name: (activations * part).sum(0) for name, part in self.look.split(target, stage)._asdict().items()}

    def as_seen(self) -> bytes:
        """The picture as it goes through the model, a PNG for people."""
        content = BytesIO()
        Image.fromarray(self.look.seen()).save(content, "PNG")
        return content.getvalue()

    def told(self) -> dict[str, Any]:
        """The view as the page asks for it."""
        config = self.look.config
        stages = [
            {"map": list(size), "heads": config.heads[i], "blocks": list(config.block_kinds[i])}
            for i, size in enumerate(self.stages)
        ]
        targets = [{"number": i, "label": name, "share": share} for i, (name, share) in enumerate(self.targets)]
        described = {"id": self.id, "name": self.name, "line": self.line, "size": list(self.look.size)}
        return described | {"usual": self.look.windowed_stage(), "stages": stages, "targets": targets}


class Explorer:
    """The newest views of a model's pictures. how: arguments of `Opened.predict`, for the answer.

    Raises UserError for a model whose inside cannot be seen.
    """

    def __init__(self, opened: Opened, how: Mapping[str, Any] = MappingProxyType({})) -> None:
        require_visible(opened)
        self.opened, self.how = opened, how
        self._views: OrderedDict[str, View] = OrderedDict()
        self._computing = Lock()  # one picture at a time: each takes all cores

    def view(self, file: FileInMemory) -> View:
        """Of a picture, kept or made. Raises UserError for one that cannot be read or is too large."""
        name = hashlib.sha256(file.content).hexdigest()[:20]
        with self._computing:
            if name not in self._views:
                found = look(self.opened, file)
                height, width = found.size
                if height * width > MOST_PIXELS:
                    said = f"{height}×{width} pixels would go through the model; the page shows at most {MOST_PIXELS:,}"
                    raise UserError(said)
                # Room is made before the pass, not after it.
                while len(self._views) >= KEPT or self._pixels + height * width > MOST_PIXELS:
                    self._views.popitem(last=False)
                self._views[name] = View(name, file.name, found, self.opened.predict(file, **self.how).line())
            self._newest(name)
            return self._views[name]

    def _newest(self, name: str) -> None:
        self._views.move_to_end(name)
        for older in list(self._views.values())[:-HELD]:
            older.look.forget()

    @property
    def _pixels(self) -> int:
        return sum(prod(view.look.size) for view in self._views.values())

    def speaks(self, view: View, target: int, cam: Cam = "element-wise") -> list[dict[str, Map]]:
        """`View.speaks`, one at a time."""
        with self._computing:
            if view.id in self._views:
                self._newest(view.id)
            return view.speaks(target, cam)

    def kept(self, name: str) -> View:
        """A view by its id. Raises Gone."""
        view = self._views.get(name)
        if view is None:
            raise Gone("the picture is not here any more; send it again")
        return view


def as_lists(maps: dict[str, Map]) -> dict[str, Any]:
    """Maps as JSON, to four digits of their largest value."""
    found = {}
    for name, x in maps.items():
        largest = float(x.abs().max()) or 1.0
        values = (x / largest).flatten().tolist()
        found[name] = {"rows": x.shape[0], "columns": x.shape[1], "values": [round(value, 4) for value in values]}
    return found
