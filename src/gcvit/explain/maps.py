"""What is shown of a picture, taken from a `Look` and independent of it: arrays for figures and files."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gcvit.errors import UserError, require
from gcvit.explain.looking import Look, Query
from gcvit.explain.settings import Choice, Kind
from gcvit.files import write_atomically
from gcvit.model.config import STAGES

TOLD = 3  # targets


@dataclass(frozen=True)
class Maps:
    """What is shown of one picture.

    picture: as the model sees it, uint8 (height, width, 3). told: what it says of it. target: what is asked about; box:
    where, for an object. stage: of the attention. maps: by title, (rows, columns). queries: of each stage, (rows,
    columns, channels); none of a model without.
    """

    picture: NDArray[np.uint8]
    told: list[tuple[str, float]]
    target: str
    box: tuple[float, float, float, float] | None
    stage: int
    maps: dict[str, NDArray[np.float32]] = field(repr=False)
    queries: list[NDArray[np.float32]] = field(repr=False)

    def line(self) -> str:
        """What the model says of the picture, on one line."""
        return ", ".join(f"{name} {confidence:.0%}" for name, confidence in self.told)

    def save(self, path: Path) -> None:
        """Write all arrays as one .npz."""
        content = BytesIO()
        arrays: dict[str, NDArray] = {"picture": self.picture}
        arrays |= {" ".join(title.split()): found for title, found in self.maps.items()}
        arrays |= {f"query of stage {stage}": query for stage, query in enumerate(self.queries)}
        names = np.array([name for name, _ in self.told])
        shares = np.array([confidence for _, confidence in self.told], np.float32)
        np.savez_compressed(content, allow_pickle=False, names=names, confidences=shares, **arrays)
        write_atomically(path, content.getvalue())


def maps_of(seen: Look, choice: Choice) -> Maps:
    """Take what is shown from a `Look`. Raises UserError for what is not there."""
    target = seen.target(choice.target)
    stage = seen.windowed_stage()
    if choice.stage is not None or choice.block is not None:
        stage = stage if choice.stage is None else choice.stage
        seen.check_stage(stage)
        stages = [seen.last_block(stage) if choice.block is None else (stage, choice.block)]
    else:
        stages = list(dict.fromkeys([seen.last_block(stage), seen.default_block()]))
        if choice.attention == "image" and not all(seen.block(at).shared for at in stages):
            choice = replace(choice, attention="window")
    maps = {}
    for at in stages:
        title, found = _attention(seen, at, choice)
        maps[title] = found
    kind = {
        "element-wise": "element-wise\nGrad-CAM",
        "grad-cam": "Grad-CAM\n",
        "eigen-cam": "Eigen-CAM (of no class)\n",
    }
    maps[f"{kind[choice.cam]}, stage {stage}".replace("\n,", "\n")] = seen.cam(choice.target, stage, choice.cam).numpy()
    maps[f"\nGrad-CAM, stage {STAGES - 1}"] = seen.cam(choice.target, STAGES - 1, "grad-cam").numpy()
    return Maps(
        picture=seen.seen(),
        told=[(found.name, found.confidence) for found in seen.targets[:TOLD]],
        target=target.name,
        box=target.box,
        stage=stage,
        maps={title: found.astype(np.float32) for title, found in maps.items()},
        queries=[seen.query(stage).numpy().astype(np.float32) for stage in range(len(seen.trace.queries))],
    )


def _attention(seen: Look, at: tuple[int, int], choice: Choice) -> tuple[str, NDArray]:
    where = f"stage {at[0]}, block {at[1]}" + ("" if choice.head is None else f", head {choice.head}")
    if choice.attention in ("rollout", "class-rollout"):
        by_class = choice.attention == "class-rollout"
        found = seen.rollout(at[0], choice.target, by_class=by_class)
        return f"value-path rollout{' of class' if by_class else ''}\nto stage {at[0]}", found.numpy()
    block, kind = seen.block(at), choice.attention
    assert kind in ("image", "window", "norm")
    if not block.shared and choice.place is None and kind == "image":
        raise UserError(
            f"block {at[1]} of stage {at[0]} is local: its windows have queries of their own, and there is no one "
            "map over the image; add --map window, or --token X Y, or choose a global block"
        )
    names: dict[Kind, str] = {"image": "global attention", "window": "attention in windows", "norm": "‖Wv‖ attention"}
    name = names[kind] if block.shared or choice.place is None else "what the token reads"
    return f"{name}\n{where}", seen.attention(at, kind, choice.head, choice.place).numpy()


def principal_components(queries: Sequence[Query], count: int = 3) -> list[Float[Tensor, "rows columns components"]]:
    """The queries of one stage in several images, along the directions in which they vary most, fitted over all of
    them, so that the same value means the same everywhere. The largest loading of each direction is positive.

    Raises UserError for more components than there are channels.
    """
    channels = queries[0].shape[-1]
    require(1 <= count <= channels, "components", count, f"from 1 to {channels}, the channels of the query")
    tokens = torch.cat([query.reshape(-1, channels) for query in queries]).double()
    mean = tokens.mean(0)
    _, _, directions = torch.linalg.svd(tokens - mean, full_matrices=True)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    return [((query.double() - mean) @ directions.T).to(query.dtype) for query in queries]
