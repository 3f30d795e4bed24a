"""What a person may ask to see of what a model looks at."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["image", "window", "norm"]
HeadOrMean = int | None
Shown = Literal["image", "window", "norm", "rollout", "class-rollout"]
Cam = Literal["grad-cam", "element-wise", "eigen-cam"]
Format = Literal["png", "pdf", "svg"]
Place = tuple[float, float]  # (x, y) in pixels of the image that the model sees


@dataclass(frozen=True)
class Choice:
    """Which maps are shown. Stages, blocks and heads are counted from 0; None: the usual one, or the mean of heads.

    stage, block: of the attention; with none chosen, that of `Look.windowed_stage` and `Look.default_block`, in windows
    where these are local. head: of it. place: (x, y) in pixels of the image as the model sees it: what its query token
    finds. attention: which map. target: class or object that is asked about. cam: its map at the chosen stage, or
    `Look.windowed_stage`; Grad-CAM of the last stage is beside it.
    """

    stage: int | None = None
    block: int | None = None
    head: int | None = None
    place: Place | None = None
    attention: Shown = "image"
    target: str | int | None = None
    cam: Cam = "element-wise"
